/**
 * Reads what the package declares: from an index of declarations (`lib/index.d.ts`) every function it exports, with its parameters,
 * their keys, and what kinds of values each takes. It understands the declarations that the compiler emits, no more.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** Splits at a separator that stands outside brackets and strings. */
function split(text, separator) {
  const parts = [];
  let [depth, start, quote] = [0, 0, ''];
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) {
      if (c === quote) quote = '';
    } else if (c === "'" || c === '"' || c === '`') quote = c;
    else if ('([{<'.includes(c)) depth++;
    else if (')]}'.includes(c) || (c === '>' && text[i - 1] !== '=')) depth--;
    else if (depth === 0 && c === separator) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

/** The text within the bracket that opens at `at`. */
function within(text, at) {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if ('([{<'.includes(text[i])) depth++;
    if (')]}'.includes(text[i]) || (text[i] === '>' && text[i - 1] !== '=')) depth--;
    if (depth === 0) return text.slice(at + 1, i);
  }
  return '';
}

/** The exports of an index: name → file. */
export function exportsOf(index) {
  const text = bare(index);
  const found = new Map();
  for (const [, names, from] of text.matchAll(/export (?:type )?\{([^}]*)\} from '([^']*)'/g)) {
    const file = resolve(dirname(index), from.replace(/\.js$/, '.d.ts'));
    for (const name of names.split(',')) if (name.trim()) found.set(name.trim().replace(/^type /, ''), file);
  }
  return found;
}

const texts = new Map();

/** A file without its comments. */
function bare(file) {
  if (!texts.has(file)) texts.set(file, readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, ''));
  return texts.get(file);
}

/** The parameters of an exported function; undefined where the name is of something else. */
export function parametersOf(name, file) {
  const text = bare(file);
  const found = text.match(new RegExp(`export declare (?:function ${name}|const ${name}: )(?=[<(])`));
  if (!found) return undefined;
  const signature = text.slice(found.index + found[0].length);
  const end = signature.startsWith('<') ? within(signature, 0).length + 2 : 0;
  const returned = signature.slice(end + within(signature, end).length + 2).trimStart();
  return /^(:|=>)/.test(returned) ? parametersIn(signature, file) : undefined;
}

/** Methods of an interface: name → parameters. */
export function methodsOf(name, file) {
  const declared = declaration(name, file);
  const methods = {};
  for (const member of split(within(declared.body, 0), ';')) {
    const found = member.match(/^(\w+)[<(]/);
    if (found) methods[found[1]] = parametersIn(member.slice(found[1].length), declared.file);
  }
  return methods;
}

function parametersIn(signature, file) {
  const text = signature.startsWith('<') ? signature.slice(within(signature, 0).length + 2) : signature;
  return split(within(text, 0), ',').flatMap((parameter) => {
    // Rest parameters repeat those of a method that is tried by itself.
    if (parameter.startsWith('...')) return [];
    const [, name, optional, type] = parameter.match(/^(\w+|\{[\s\S]*?\})(\?)?: ([\s\S]*)$/);
    return [{ name: name.startsWith('{') ? 'options' : name, optional: optional !== undefined, type, file }];
  });
}

/** Where a type is declared: its body, what it extends, and the file. */
function declaration(name, file) {
  const text = bare(file);
  const interfaceAt = text.match(new RegExp(`(?:interface|class) ${name}(?:<[^{]*?>)?(?: extends ([^{]*?))? \\{`));
  if (interfaceAt) {
    const body = text.slice(interfaceAt.index + interfaceAt[0].length - 1);
    return { body, extended: split(interfaceAt[1] ?? '', ','), file };
  }
  const alias = text.match(new RegExp(`type ${name}(?:<[^=]*?>)? = `));
  if (alias) return { type: split(text.slice(alias.index + alias[0].length), ';')[0], file };
  const imported = text.match(new RegExp(`import (?:type )?\\{[^}]*\\b${name}\\b[^}]*\\} from '([^']*)'`));
  return imported && declaration(name, resolve(dirname(file), imported[1].replace(/\.js$/, '.d.ts')));
}

const LEAVES = /^(Int32Array|Float32Array|Float64Array|Uint8Array|AbortSignal|string|number|boolean|unknown|null|undefined|T|F)$/;

/** A type's alternatives, aliases resolved: texts with their files. */
function alternatives(type, file) {
  const parts = split(type.replace(/^\|/, ''), '|');
  if (parts.length > 1) return parts.flatMap((part) => alternatives(part, file));
  const [only] = parts;
  if (/^\([\s\S]*\)$/.test(only) && within(only, 0).length === only.length - 2) return alternatives(within(only, 0), file);
  const name = only.match(/^(\w+)(?:<[\s\S]*>)?$/)?.[1];
  if (!name || LEAVES.test(name)) return [{ type: only, file }];
  const declared = declaration(name, file);
  return declared?.type ? alternatives(declared.type, declared.file) : [{ type: only, file, declared }];
}

/** The keys of a type: name, whether it may be left out, and its own type. */
export function keysOf(type, file) {
  const keys = [];
  for (const { type: one, file: here, declared } of alternatives(type, file)) {
    const sides = split(one, '&');
    if (sides.length > 1) keys.push(...sides.flatMap((side) => keysOf(side, here)));
    else if (one.startsWith('{')) keys.push(...membersOf(one, here));
    else if (declared) {
      for (const base of declared.extended ?? []) keys.push(...keysOf(base, declared.file));
      keys.push(...membersOf(declared.body, declared.file));
    } else {
      const [, utility, given] = one.match(/^(Omit|Pick|Partial|Required|Readonly)<([\s\S]*)>$/) ?? [];
      if (!utility) continue;
      const [of, names = ''] = split(given, ',');
      const named = ({ name }) => names.includes(`'${name}'`);
      const chosen = { Omit: (key) => !named(key), Pick: named }[utility] ?? (() => true);
      keys.push(...keysOf(of, here).filter(chosen));
    }
  }
  return [...new Map(keys.map((key) => [key.name, key])).values()];
}

function membersOf(body, file) {
  return split(within(body, 0), ';').flatMap((member) => {
    const found = member.match(/^(?:readonly )?(\w+)(\?)?: ([\s\S]*)$/);
    return found ? [{ name: found[1], optional: found[2] !== undefined, type: found[3], file }] : [];
  });
}

/** Which kinds of primitive values a type takes, and whether functions and objects. */
export function kindsOf(type, file) {
  const kinds = new Set();
  for (const { type: one } of alternatives(type, file)) {
    if (/^(number|-?\d+)$/.test(one)) kinds.add('number');
    else if (/^(string|['"`])/.test(one) || /^(keyof|\(keyof)/.test(one)) kinds.add('string');
    else if (/^(boolean|true|false)$/.test(one)) kinds.add('boolean');
    else if (/^undefined$/.test(one)) kinds.add('undefined');
    else if (one.includes('=>') && one.startsWith('(')) kinds.add('function');
    else if (/^(Name|unknown)$/.test(one)) kinds.add('string');
    else kinds.add('object');
  }
  return kinds;
}
