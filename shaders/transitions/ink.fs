/*{
  "DESCRIPTION": "The next picture comes as ink does into wet paper: its darkest lines first, and the ground last.",
  "ISFVSN": "2",
  "CATEGORIES": ["transition"],
  "INPUTS": [
    {"NAME": "startImage", "TYPE": "image"},
    {"NAME": "endImage", "TYPE": "image"},
    {"NAME": "progress", "TYPE": "float", "DEFAULT": 0.0, "MIN": 0.0, "MAX": 1.0},
    {"NAME": "softness", "TYPE": "float", "DEFAULT": 0.35, "MIN": 0.02, "MAX": 1.0,
     "HELP": "how much of the transition a tone takes to come"}
  ]
}*/

void main() {
  vec3 before = IMG_THIS_PIXEL(startImage).rgb, after = IMG_THIS_PIXEL(endImage).rgb;
  float tone = dot(after, vec3(0.3, 0.59, 0.11));
  float begins = tone * (1.0 - softness);
  gl_FragColor = vec4(mix(before, after, smoothstep(begins, begins + softness, progress)), 1.0);
}
