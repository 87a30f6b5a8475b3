flat out mat3 colors;
out vec2 place;
out vec2 grid;
flat out uint seed;

void main() {
  isf_vertShaderInit();
  place = (isf_FragNormCoord - 0.5) * 1.41421356;
  // Grains are as large as a pixel of 720 lines, so that the picture has one texture at every size.
  grid = isf_FragNormCoord * RENDERSIZE * min(720.0 / RENDERSIZE.y, 1.0);
  seed = uint(mod(floor(TIME * 24.0), 65536.0)) * 2654435769u;

  vec3 luma = vec3(0.2126, 0.7152, 0.0722);
  mat3 grey = mat3(luma.xxx, luma.yyy, luma.zzz);
  mat3 saturate = saturation * mat3(1.0) + (1.0 - saturation) * grey;
  float k = cos(hue * 6.2831853), s = sin(hue * 6.2831853) * 0.57735027, t = (1.0 - k) / 3.0;
  mat3 turn = mat3(t + k, t + s, t - s, t - s, t + k, t + s, t + s, t - s, t + k);
  vec3 light = exp2(exposure / 2.2) * vec3(1.0 + 0.13 * warmth, 1.0, 1.0 - 0.17 * warmth);
  colors = mat3(light.x, 0.0, 0.0, 0.0, light.y, 0.0, 0.0, 0.0, light.z) * saturate * turn;
}
