// The README's picture: two panels of UL Fig. 1 side by side, from the report of what `npm start` runs. Its ground is white, so that
// it reads on a dark page too.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const margin = 12;

const run = mkdtempSync(join(tmpdir(), 'layerpeel-figure-'));
try {
  execFileSync(process.execPath, [join(root, 'lib/cli/main.js'), 'reproduce', 'fig1', '--out', run], { stdio: 'inherit' });
  const panels = ['accuracy', 'distanceToAligned'].map((name) => readFileSync(join(run, `figures/${name}.svg`), 'utf8'));
  writeFileSync(join(root, 'docs/fig1.svg'), sideBySide(panels));
} finally {
  rmSync(run, { recursive: true });
}

function sideBySide(panels) {
  const sizes = panels.map((svg) => / width="(\d+)" height="(\d+)"/.exec(svg).slice(1).map(Number));
  const width = sizes.reduce((sum, [own]) => sum + own + margin, margin);
  const height = Math.max(...sizes.map(([, own]) => own)) + 2 * margin;
  let left = margin;
  const placed = panels.map((svg, i) => {
    const [own, tall] = sizes[i];
    const x = left;
    left += own + margin;
    return svg.replace('<svg ', `<svg x="${x}" y="${height - margin - tall}" `);
  });
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`;
  return `${head}<rect width="${width}" height="${height}" fill="white"/>${placed.join('')}</svg>\n`;
}
