/*{
  "DESCRIPTION": "Trails: the picture leaves itself behind, slowly moving outward. The middle stays clear.",
  "ISFVSN": "2",
  "CATEGORIES": ["stage"],
  "INPUTS": [
    {"NAME": "inputImage", "TYPE": "image"},
    {"NAME": "amount", "TYPE": "float", "DEFAULT": 0.6, "MIN": 0.0, "MAX": 1.0,
     "HELP": "length of the trails, as a part of feedback.trail"},
    {"NAME": "trail", "TYPE": "float", "DEFAULT": 0.9, "MIN": 0.05, "MAX": 6.0, "UNIT": "s",
     "HELP": "time in which a trail loses half its strength, at amount 1, away from the middle"},
    {"NAME": "middle", "TYPE": "float", "DEFAULT": 0.08, "MIN": 0.0, "MAX": 1.0,
     "HELP": "how much of the trail reaches the middle, where the creature sits"},
    {"NAME": "zoom", "TYPE": "float", "DEFAULT": 0.1, "MIN": -1.0, "MAX": 1.0, "UNIT": "1/s",
     "HELP": "speed at which trails grow outward (below zero: inward)"},
    {"NAME": "turn", "TYPE": "float", "DEFAULT": 0.0, "MIN": -0.5, "MAX": 0.5, "UNIT": "turns/s",
     "HELP": "speed at which trails turn"},
    {"NAME": "drift", "TYPE": "float", "DEFAULT": 0.0, "MIN": -0.5, "MAX": 0.5, "UNIT": "1/s",
     "HELP": "speed at which trails rise, in heights of the frame"}
  ],
  "PASSES": [{"TARGET": "trails", "PERSISTENT": true}]
}*/

in vec2 origin;        // where this pixel's trail was a frame ago, 0..1
in vec2 place;         // distance from the middle, in heights
flat in vec2 kept;     // what is left of a trail after this frame, in the middle and away from it

void main() {
  vec3 now = IMG_THIS_PIXEL(inputImage).rgb;
  vec4 trail = texture(trails, origin);
  vec3 was = mix(now, trail.rgb, trail.a);  // in the first frame there are none: then the whole frame is lit, and no disc
  float away = clamp(dot(place, place) * 2.6 - 0.28, 0.0, 1.0);
  vec3 color = mix(now, was, mix(kept.x, kept.y, away));
  // Eight bits stand still where a step is below half a level; a little noise keeps trails fading to the very end.
  float noise = fract(52.9829189 * fract(dot(gl_FragCoord.xy + float(FRAMEINDEX & 63) * 5.588, vec2(0.06711056, 0.00583715))));
  gl_FragColor = vec4(color + (noise - 0.5) * (1.0 / 255.0), 1.0);
}
