// What nvcc makes of every kernel, held to native/test/cuda/resources.json: registers, spills and local memory at most;
// loads of 16 bytes, asynchronous copies and matrix instructions at least; instructions in double precision at most, since one
// literal without its f turns a float32 kernel into another. With --print it prints what it saw, a kernel a line.
//
// The table names kernels as `file.cu kernel<arguments>`, without namespaces, or `file.cu kernel` for all its instances;
// where both are there, the longer name adds to the shorter. A kernel that it does not name must neither spill nor have
// local memory, and none of float32 may compute in double precision unless the table says how much, and why.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, delimiter, dirname } from 'node:path';
import { findCuobjdump, findNvcc } from './cuda-tools.mjs';

const architectures = ['80', '90', '100'];
const atMost = ['registers', 'spills', 'local', 'double'];
const folder = 'build/cuda-resources';
const table = JSON.parse(readFileSync('native/test/cuda/resources.json', 'utf8'));
const nvcc = findNvcc();
const cuobjdump = findCuobjdump();
if (!nvcc || !cuobjdump) {
  console.log('Skipped: registers and instructions of kernels.');
  process.exit(0);
}
mkdirSync(folder, { recursive: true });

const failures = [];
const named = new Set();
let kernels = 0;
const ops = readdirSync('native/ops', { recursive: true }).filter((name) => name.endsWith('.cu'));
for (const source of ['native/test/cuda/sums.cu', ...ops.sort().map((name) => `native/ops/${name}`)]) {
  for (const architecture of architectures) {
    for (const [kernel, seen] of Object.entries(look(source, architecture))) {
      kernels++;
      const name = `${basename(source)} ${kernel}`;
      if (process.argv.includes('--print')) console.log(`sm_${architecture} ${name} ${JSON.stringify(seen)}`);
      const { why, ...limits } = expected(name);
      if (limits.double > 0 && /<float/.test(kernel) && !why) failures.push(`${name} may compute in double precision, but why?`);
      for (const [what, limit] of Object.entries(limits)) {
        const good = atMost.includes(what) ? seen[what] <= limit : seen[what] >= limit;
        if (!good)
          failures.push(
            `${name} on sm_${architecture}: ${what} ${seen[what]}, ${atMost.includes(what) ? 'at most' : 'at least'} ${limit}`,
          );
      }
    }
  }
}
for (const name of Object.keys(table)) if (!named.has(name)) failures.push(`${name} is in the table, but no kernel`);
for (const failure of failures) console.error(failure);
console.log(`Kernels as compiled: ${kernels} looked at, ${failures.length} expectations not met`);
process.exit(failures.length > 0 ? 1 : 0);

function expected(name) {
  const all = { spills: 0, local: 0, ...(/<float/.test(name) && { double: 0 }) };
  for (const key of [name.replace(/<.*/, ''), name]) {
    if (!(key in table)) continue;
    named.add(key);
    Object.assign(all, table[key]);
  }
  return all;
}

/** Of every kernel of a source, by name: registers, bytes spilled and of local memory, and how many of which instructions. */
function look(source, architecture) {
  const object = `${folder}/${basename(source, '.cu')}-${architecture}.cubin`;
  const options = [
    '-std=c++20',
    '-O3',
    `-arch=sm_${architecture}`,
    '-Werror',
    'all-warnings',
    '-diag-suppress',
    '554',
    '-Inative',
    '-cubin',
    '--resource-usage',
  ];
  const { status, stdout, stderr } = spawnSync(nvcc, [...options, source, '-o', object], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`nvcc ${source}: ${stderr}`);
  const usage = readable(stdout + stderr);
  const seen = {};
  const pattern =
    /Compiling entry function '(.*?)' for[\s\S]*?(\d+) bytes stack frame, (\d+) bytes spill stores[\s\S]*?Used (\d+) registers/g;
  for (const [, name, local, spills, registers] of usage.matchAll(pattern)) {
    seen[short(name)] = { registers: Number(registers), spills: Number(spills), local: Number(local) };
  }
  const env = { ...process.env, PATH: `${dirname(cuobjdump)}${delimiter}${process.env.PATH}` };
  const code = readable(execFileSync(cuobjdump, ['--dump-sass', object], { encoding: 'utf8', env, maxBuffer: 2 ** 30 }));
  for (const part of code.split(/^\s*Function : /m).slice(1)) {
    const instructions = [...part.matchAll(/\/\*[0-9a-f]{4,5}\*\/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]*)/g)].map(([, name]) => name);
    const count = (pattern) => instructions.filter((name) => pattern.test(name)).length;
    Object.assign(seen[short(part.slice(0, part.indexOf('\n')))], {
      double: count(/^(D(FMA|ADD|MUL|SETP)|F2F\.F64|MUFU\.\w+64H)/),
      wide: count(/^LDG\..*\.128/),
      copies: count(/^LDGSTS/),
      matrix: count(/^(HMMA|DMMA)/),
    });
  }
  return seen;
}

/** Names of C++ as they are written. */
function readable(text) {
  return execFileSync('c++filt', { input: text, encoding: 'utf8', maxBuffer: 2 ** 30 });
}

/** Without what it returns and takes, and without namespaces. */
function short(name) {
  let depth = 0;
  let end = name.length;
  for (const [at, character] of [...name].entries()) {
    if (character === '<') depth++;
    if (character === '>') depth--;
    if (character === '(' && depth === 0) {
      end = at;
      break;
    }
  }
  return name
    .slice(0, end)
    .trim()
    .replace(/^void /, '')
    .replace(/\((?:\w+::)*\w+\)(?=-?\d)/g, '')
    .replace(/\b\w+::/g, '');
}
