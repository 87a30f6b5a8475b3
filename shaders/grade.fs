/*{
  "DESCRIPTION": "The last look: exposure, contrast, colour, a vignette and a little grain.",
  "ISFVSN": "2",
  "CATEGORIES": ["stage"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "exposure", "TYPE": "float", "DEFAULT": 0.0, "MIN": -4.0, "MAX": 4.0, "UNIT": "stops",
     "HELP": "light, in camera stops"},
    {"NAME": "contrast", "TYPE": "float", "DEFAULT": 0.12, "MIN": -1.0, "MAX": 1.0,
     "HELP": "depth of the tone curve; neither end ever clips"},
    {"NAME": "saturation", "TYPE": "float", "DEFAULT": 1.06, "MIN": 0.0, "MAX": 2.0,
     "HELP": "0 is grey, 1 as generated"},
    {"NAME": "hue", "TYPE": "float", "DEFAULT": 0.0, "MIN": -0.5, "MAX": 0.5, "UNIT": "turns",
     "HELP": "turn of all colours"},
    {"NAME": "warmth", "TYPE": "float", "DEFAULT": 0.0, "MIN": -1.0, "MAX": 1.0,
     "HELP": "towards candle light, or towards moonlight"},
    {"NAME": "vignette", "TYPE": "float", "DEFAULT": 0.34, "MIN": 0.0, "MAX": 1.0,
     "HELP": "darkness of the corners"},
    {"NAME": "grain", "TYPE": "float", "DEFAULT": 0.22, "MIN": 0.0, "MAX": 1.0,
     "HELP": "strength of the film grain"}
  ]
}*/

flat in mat3 colors;   // exposure, warmth, saturation and hue in one
in vec2 place;         // distance from the middle; the corners are at length 1
in vec2 grid;          // counts grains
flat in uint seed;

void main() {
  vec3 c = min(colors * IMG_THIS_PIXEL(inputImage).rgb, 1.0);
  c = max(c, 0.0);
  c += contrast * c * (1.0 - c) * (2.0 * c - 1.0);
  c *= 1.0 - vignette * dot(place, place);
  // Noise by whole numbers: cheaper here than a texture, and it has no tile that an eye could learn.
  uvec2 cell = uvec2(grid);
  uint h = (cell.x * 1597334677u) ^ (cell.y * 3812015801u) ^ seed;
  h = (h ^ (h >> 15u)) * 2246822519u;
  h ^= h >> 13u;
  float n = float(int(h & 0xFFFFu) - int(h >> 16u)) * (1.0 / 65536.0);
  gl_FragColor = vec4(c + n * grain * (0.05 + 0.2 * c.g * (1.0 - c.g)), 1.0);
}
