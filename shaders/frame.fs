/*{
  "DESCRIPTION": "Places the generator's picture in the wide frame: whole, without a border, breathing.",
  "ISFVSN": "2",
  "CATEGORIES": ["stage"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "zoom", "TYPE": "float", "DEFAULT": 1.12, "MIN": 0.25, "MAX": 4.0,
     "HELP": "size of the picture; 1 is as high as the frame (or as wide, with fit 1)"},
    {"NAME": "fit", "TYPE": "float", "DEFAULT": 0.0, "MIN": 0.0, "MAX": 1.0,
     "HELP": "0 shows the whole square, 1 fills the frame's width"},
    {"NAME": "feather", "TYPE": "float", "DEFAULT": 0.32, "MIN": 0.02, "MAX": 0.6,
     "HELP": "how softly the picture's edge goes over into its surroundings"},
    {"NAME": "sides", "TYPE": "float", "DEFAULT": 0.94, "MIN": 0.0, "MAX": 1.0,
     "HELP": "brightness of the surroundings"},
    {"NAME": "ground", "TYPE": "float", "DEFAULT": 0.0, "MIN": 0.0, "MAX": 1.0,
     "HELP": "the surroundings: 0 goes on with what is at the picture's edge, 1 is the colour of its corners, as paper"},
    {"NAME": "breath", "TYPE": "float", "DEFAULT": 0.012, "MIN": 0.0, "MAX": 0.1,
     "HELP": "slow swelling of the picture, as a part of its size"}
  ],
  "PASSES": [
    {"TARGET": "small", "WIDTH": "24", "HEIGHT": "24"},
    {"TARGET": "around", "WIDTH": "64", "HEIGHT": "max(1, round(64 * $HEIGHT / $WIDTH))"},
    {}
  ]
}*/

// The surroundings are the picture itself, mirrored at its edges and blurred until only its ground and its colours are
// left. Paper goes on as paper and night as night; because the mirror meets the picture exactly at the edge, there is
// no line that an eye could find. Both blurs are tiny; only the last pass has the frame's size.
//
// While two generators are seen at once, each picture is framed by itself, one after the other in the same frame:
// nothing here may be PERSISTENT.

in vec2 at;          // place in the picture, 0..1; beyond that outside
flat in vec2 edge;        // where the picture begins to dissolve and where it is gone, to the fourth power

vec2 mirrored(vec2 p) {
  return 1.0 - abs(1.0 - abs(p));
}

// The cubic B-spline, four bilinear taps instead of sixteen (Sigg and Hadwiger, GPU Gems 2, chapter 20).
vec3 spline(vec2 uv) {
  vec2 size = IMG_SIZE(inputImage);
  vec2 p = uv * size - 0.5;
  vec2 f = fract(p);
  vec2 i = p - f;
  vec2 g = 1.0 - f;
  vec2 w0 = g * g * g;
  vec2 w3 = f * f * f;
  vec2 w1 = 4.0 - f * f * (6.0 - 3.0 * f);
  vec2 s1 = (w0 + w1) * (1.0 / 6.0);
  vec2 s2 = 1.0 - s1;
  vec2 texel = 1.0 / size;
  vec2 t0 = (i - 0.5 + w1 / (w0 + w1)) * texel;
  vec2 t1 = (i + 1.5 + w3 / (6.0 - w0 - w1)) * texel;
  vec3 low = mix(texture(inputImage, vec2(t1.x, t0.y)).rgb, texture(inputImage, t0).rgb, s1.x);
  vec3 high = mix(texture(inputImage, t1).rgb, texture(inputImage, vec2(t0.x, t1.y)).rgb, s1.x);
  return mix(high, low, s1.y);
}

void main() {
  if (PASSINDEX == 0) {
    vec3 sum = vec3(0.0);
    for (int y = -2; y <= 2; y++)
      for (int x = -2; x <= 2; x++)
        sum += texture(inputImage, isf_FragNormCoord + vec2(x, y) * (1.0 / 120.0)).rgb;
    gl_FragColor = vec4(sum / 25.0, 1.0);
  } else if (PASSINDEX == 1) {
    // The mirror runs back into the picture slowly: it is the ground at the rim that goes on, not the creature.
    vec2 beyond = max(abs(at - 0.5) - 0.5, 0.0);
    vec2 p = mirrored(0.5 + sign(at - 0.5) * (min(abs(at - 0.5), 0.5) + beyond * 0.22));
    vec2 reach = vec2(0.022, 0.055) + 0.06 * (beyond.x + beyond.y);
    vec3 sum = vec3(0.0);
    float weights = 0.0;
    for (int y = -3; y <= 3; y++)
      for (int x = -3; x <= 3; x++) {
        float weight = exp(-0.22 * float(x * x + y * y));
        sum += weight * texture(small, mirrored(p + vec2(x, y) * reach)).rgb;
        weights += weight;
      }
    vec3 corners = vec3(0.0);
    for (int corner = 0; corner < 4; corner++)
      corners += 0.25 * texture(small, vec2(0.03) + 0.94 * vec2(corner & 1, corner >> 1)).rgb;
    gl_FragColor = vec4(mix(sum / weights, corners, ground), 1.0);
  } else {
    vec2 q = at * 2.0 - 1.0;
    q *= q;
    float far = dot(q, q);
    float soft = smoothstep(edge.x, edge.y, far);
    vec3 outside = texture(around, isf_FragNormCoord).rgb;
    gl_FragColor = vec4(mix(spline(mirrored(at)), outside * sides, soft), 1.0);
  }
}
