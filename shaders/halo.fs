/*{
  "DESCRIPTION": "A ring of fine hairs around the creature: the spectrum, bass below, treble above. Ink on paper, light on night.",
  "ISFVSN": "2",
  "CATEGORIES": ["stage"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "spectrum", "TYPE": "audioFFT"},
    {"NAME": "strength", "TYPE": "float", "DEFAULT": 0.35, "MIN": 0.0, "MAX": 1.0,
     "HELP": "how dark the hairs are on paper, or how bright at night"},
    {"NAME": "radius", "TYPE": "float", "DEFAULT": 0.36, "MIN": 0.05, "MAX": 0.8,
     "HELP": "where the hairs are rooted above and below the middle, in heights of the frame"},
    {"NAME": "stretch", "TYPE": "float", "DEFAULT": 1.75, "MIN": 0.5, "MAX": 3.0,
     "HELP": "how much wider than high the ring is"},
    {"NAME": "reach", "TYPE": "float", "DEFAULT": 0.17, "MIN": 0.01, "MAX": 0.5,
     "HELP": "length of the longest hair, in heights of the frame"},
    {"NAME": "hairs", "TYPE": "long", "DEFAULT": 320, "MIN": 24, "MAX": 720,
     "HELP": "number of hairs"},
    {"NAME": "sway", "TYPE": "float", "DEFAULT": 0.5, "MIN": 0.0, "MAX": 1.0,
     "HELP": "how far the hairs lean and drift, as in water"}
  ],
  "PASSES": [
    {"TARGET": "tufts", "PERSISTENT": true, "WIDTH": "720", "HEIGHT": "1"},
    {"TARGET": "fur", "WIDTH": "2 * $WIDTH", "HEIGHT": "$HEIGHT / 10"},
    {}
  ]
}*/

// The hairs are drawn on a strip, unrolled, and the strip is laid around the middle: a software renderer works on every
// pixel of a pass, whether it lies on the ring or not, so the last pass is short.

in vec2 place;        // from the middle, in the ring's own measure: the ring is a circle there
flat in vec2 strip;   // square of the radius at which the strip begins, and one over what it grows by across the strip
flat in vec3 ink;     // of the hairs

const float TURN = 6.2831853;

void main() {
  float count = float(hairs / 2 * 2);
  if (PASSINDEX == 0) {
    // A texel for each hair, from half a turn around to half a turn: how loud its octave is, and three chances. Music
    // falls with pitch, so treble is lifted. A level rises at once and falls slowly, to the very end.
    float own = floor(gl_FragCoord.x) - 0.5 * count;
    float octave = abs(own + 0.5) * 2.0 / count;
    float heard = texture(spectrum, vec2(0.0028 * exp2(6.4 * min(octave, 1.0)), 0.5)).r;
    float now = smoothstep(0.2, 0.86, heard * (1.0 + 0.95 * octave));
    float was = IMG_THIS_PIXEL(tufts).r;
    float next = max(mix(was, now, 1.0 - exp2(-TIMEDELTA * 40.0)), was * exp2(-TIMEDELTA * 5.0)) - 0.002;
    gl_FragColor = vec4(next, fract(sin(own * vec3(12.9898, 78.233, 39.425)) * 43758.5453));
  } else if (PASSINDEX == 1) {
    // Along the strip runs not the angle but a share of |x| + |y|, across it the radius squared: the last pass has both
    // for next to nothing. The angle is a polynomial of that share, off by half a degree.
    float side = isf_FragNormCoord.x < 0.5 ? -1.0 : 1.0;
    float height = 2.0 * abs(2.0 * isf_FragNormCoord.x - 1.0) - 1.0;
    float steep = abs(height), across = 1.0 - steep;
    float quarter = steep * (1.0 + steep * (1.7124 - 1.1416 * steep));
    float angle = side * (0.25 * TURN + (height < 0.0 ? -quarter : quarter));  // 0 below, half a turn above, either way
    float r = sqrt(strip.x + isf_FragNormCoord.y / strip.y);
    float beyond = (r - radius) / reach;
    float lean = sway * beyond * (0.06 * sin(3.0 * angle + 0.41 * TIME) + 0.04 * sin(7.0 * angle - 0.67 * TIME));
    float cell = (angle + lean) * (count / TURN);
    float own = floor(cell);
    vec4 tuft = texture(tufts, vec2((own + 0.5 * count + 0.5) / IMG_SIZE(tufts).x, 0.5));
    vec3 chance = tuft.gba;
    // Each hair: rooted a little off the ring, of its own length, bent its own way, thin at the tip.
    float s = (beyond - 0.12 * chance.y + 0.06) / (tuft.r * (0.4 + 0.6 * chance.x) + 0.001);
    float inside = step(0.0, s) * step(s, 1.0);
    float bend = (chance.z - 0.5) * (0.3 + 0.4 * s * s * sway);
    // The way around in the frame, of one turn, and how fine the strip is there.
    float inverse = 1.0 / (across * across + height * height);
    float around = r * sqrt((stretch * stretch * height * height + across * across) * inverse);
    float off = abs(cell - own - 0.5 - bend) * (TURN / count) * around;
    float pixels = RENDERSIZE.x / (4.0 * around * inverse);  // in one height of the frame
    float half_ = mix(0.0013, 0.0003, s);
    float line = clamp((half_ - off) * pixels + 0.5, 0.0, 1.0) * min(2.0 * half_ * pixels, 1.0);
    float shade = inside * min(8.0 * tuft.r, 1.0) * line * (1.0 - s * s) * min(5.0 * s, 1.0) * (0.55 + 0.45 * chance.y);
    gl_FragColor = vec4(vec3(min(2.4 * strength * shade, 1.0)), 1.0);
  } else {
    float height = place.y / (abs(place.x) + abs(place.y) + 1e-6);
    vec2 at = vec2(0.5 + (place.x < 0.0 ? -0.25 : 0.25) * (1.0 + height), (dot(place, place) - strip.x) * strip.y);
    vec3 c = IMG_THIS_PIXEL(inputImage).rgb;
    gl_FragColor = vec4(mix(c, ink, texture(fur, at).r), 1.0);
  }
}
