/** The slope of the least-squares line through points. */
export function slope(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
  const [xMean, yMean] = [mean(x), mean(y)];
  let [products, squares] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const dx = (x[i] as number) - xMean;
    products += dx * ((y[i] as number) - yMean);
    squares += dx * dx;
  }
  return products / squares;
}
