// Numbers: probabilities in words, and their place on an axis whose middle is the threshold.

export const SPAN = 8; // the axis reaches from an eighth of the threshold to eight times the threshold

/** Percent with as many digits as the number needs to be no bare zero: 42 %, 6.9 %, 0.04 %. */
export function percent(fraction, more = 0) {
  const value = 100 * fraction;
  if (fraction > 0 && value < 0.0005) return "< 0.001 %";
  const digits = value >= 9.95 ? 0 : value >= 0.095 || value === 0 ? 1 : value >= 0.0095 ? 2 : 3;
  return `${value.toFixed(digits + more)} %`;
}

/** Two fractions with so many digits that they look different where they are. */
export function apart(a, b) {
  for (let more = 0; more < 4; more += 1) {
    const pair = [percent(a, more), percent(b, more)];
    if (a === b || pair[0] !== pair[1]) return pair;
  }
  return [percent(a, 4), percent(b, 4)];
}

/** A probability as a multiple of its threshold: 0.41, 0.98, 1.5, 14. */
export function times(probability, threshold) {
  const ratio = probability / threshold;
  if (ratio >= 9.95) return ratio.toFixed(0);
  const digits = [1, 2, 3, 4].find((count) => Number(ratio.toFixed(count)) !== 1 && Number(ratio.toFixed(count)) > 0) ?? 1;
  return ratio.toFixed(ratio < 0.095 ? Math.max(digits, 2) : digits);
}

/** Where a probability lies on the axis, in percent of its length; without a threshold the axis runs from 0 to 1. */
export function place(probability, threshold) {
  if (!threshold) return 100 * probability;
  const octaves = Math.log2(Math.max(probability, 1e-9) / threshold) / Math.log2(SPAN);
  return 50 + 50 * Math.min(1, Math.max(-1, octaves));
}
