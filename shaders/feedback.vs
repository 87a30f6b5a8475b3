out vec2 origin;
out vec2 place;
flat out vec2 kept;

void main() {
  isf_vertShaderInit();
  vec2 wide = vec2(RENDERSIZE.x / RENDERSIZE.y, 1.0);
  place = (isf_FragNormCoord - 0.5) * wide;
  float angle = turn * TIMEDELTA * 6.2831853;
  float shrink = exp2(-zoom * TIMEDELTA * 1.442695);
  mat2 back = mat2(cos(angle), -sin(angle), sin(angle), cos(angle)) * shrink;
  origin = 0.5 + (back * place - vec2(0.0, drift * TIMEDELTA)) / wide;
  // Halves per second, not per frame: trails are as long at 24 frames a second as at 120.
  float seconds = amount * trail;
  kept = exp2(-TIMEDELTA / max(vec2(seconds * middle, seconds), 1e-4));
}
