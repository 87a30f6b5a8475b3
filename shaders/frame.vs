// What is the same for all pixels is computed here, three times a frame instead of a million.
out vec2 at;
flat out vec2 edge;

void main() {
  isf_vertShaderInit();
  vec2 picture = IMG_SIZE(inputImage);
  float aspect = RENDERSIZE.x / RENDERSIZE.y * picture.y / picture.x;  // of the frame, as the picture sees it
  // Two slow waves that never meet in the same way twice.
  float swell = 1.0 + breath * (0.7 * sin(TIME * 0.61) + 0.3 * sin(TIME * 1.43 + 1.0));
  float scale = zoom * swell * mix(min(aspect, 1.0), max(aspect, 1.0), fit);
  at = 0.5 + (isf_FragNormCoord - 0.5) * vec2(aspect, 1.0) / scale;
  vec2 e = 1.0 + feather * vec2(-1.0, 0.35);
  edge = e * e * e * e;
}
