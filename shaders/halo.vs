// What is the same for all pixels is computed here, three times a frame instead of a million.
out vec2 place;
flat out vec2 strip;
flat out vec3 ink;

void main() {
  isf_vertShaderInit();
  place = (isf_FragNormCoord - 0.5) * vec2(RENDERSIZE.x / RENDERSIZE.y / stretch, 1.0);
  float inner = max(radius - 0.2 * reach, 0.0), outer = radius + 1.15 * reach;
  strip = vec2(inner * inner, 1.0 / (outer * outer - inner * inner));
  // Paper or night is told by the corners, where no creature sits.
  float ground = 0.0;
  for (int corner = 0; corner < 4; corner++)
    ground += 0.25 * texture(inputImage, vec2(0.04) + 0.92 * vec2(corner & 1, corner >> 1)).g;
  ink = mix(vec3(0.96, 0.93, 0.85), vec3(0.13, 0.11, 0.10), smoothstep(0.35, 0.55, ground));
}
