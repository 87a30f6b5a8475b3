/*{
  "DESCRIPTION": "The old skin tears and falls away in flakes: the next creature is beneath it.",
  "ISFVSN": "2",
  "CATEGORIES": ["transition"],
  "INPUTS": [
    {"NAME": "startImage", "TYPE": "image"},
    {"NAME": "endImage", "TYPE": "image"},
    {"NAME": "progress", "TYPE": "float", "DEFAULT": 0.0, "MIN": 0.0, "MAX": 1.0},
    {"NAME": "grain", "TYPE": "float", "DEFAULT": 9.0, "MIN": 2.0, "MAX": 40.0,
     "HELP": "flakes across the height of the frame"},
    {"NAME": "softness", "TYPE": "float", "DEFAULT": 0.16, "MIN": 0.01, "MAX": 0.6,
     "HELP": "how wide the torn edge is"}
  ]
}*/

float chance(vec2 at) { return fract(sin(dot(at, vec2(12.9898, 78.233))) * 43758.5453); }

float cloud(vec2 at) {
  vec2 cell = floor(at), inside = fract(at);
  inside = inside * inside * (3.0 - 2.0 * inside);
  return mix(mix(chance(cell), chance(cell + vec2(1.0, 0.0)), inside.x),
             mix(chance(cell + vec2(0.0, 1.0)), chance(cell + vec2(1.0, 1.0)), inside.x), inside.y);
}

void main() {
  // The skin opens along the back: the middle first, in a noise of two octaves, dark parts last.
  vec2 at = isf_FragNormCoord * vec2(RENDERSIZE.x / RENDERSIZE.y, 1.0) * grain;
  vec3 before = IMG_THIS_PIXEL(startImage).rgb, after = IMG_THIS_PIXEL(endImage).rgb;
  float off = abs(isf_FragNormCoord.x - 0.5) * 0.7;
  float ink = 1.0 - dot(before, vec3(0.3, 0.59, 0.11));
  float order = 0.5 * (0.65 * cloud(at) + 0.35 * cloud(at * 2.7 + 5.0)) + 0.35 * off / 0.35 * 0.5 + 0.2 * ink;
  float gone = smoothstep(order - softness, order + softness, progress * (1.0 + 2.0 * softness) - softness);
  gl_FragColor = vec4(mix(before, after, gone), 1.0);
}
