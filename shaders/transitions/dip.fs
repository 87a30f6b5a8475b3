/*{
  "DESCRIPTION": "Into the dark, or into paper, and out of it as the next picture.",
  "ISFVSN": "2",
  "CATEGORIES": ["transition"],
  "INPUTS": [
    {"NAME": "startImage", "TYPE": "image"},
    {"NAME": "endImage", "TYPE": "image"},
    {"NAME": "progress", "TYPE": "float", "DEFAULT": 0.0, "MIN": 0.0, "MAX": 1.0},
    {"NAME": "paper", "TYPE": "float", "DEFAULT": 0.0, "MIN": 0.0, "MAX": 1.0,
     "HELP": "0 dips into the dark, 1 into ivory paper"}
  ]
}*/

void main() {
  vec3 c = progress < 0.5 ? IMG_THIS_PIXEL(startImage).rgb : IMG_THIS_PIXEL(endImage).rgb;
  float there = smoothstep(0.0, 0.46, min(progress, 1.0 - progress));  // a little before the middle all is gone
  gl_FragColor = vec4(mix(c, mix(vec3(0.0), vec3(0.945, 0.918, 0.855), paper), there), 1.0);
}
