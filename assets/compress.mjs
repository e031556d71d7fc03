#!/usr/bin/env node
// Writes assets/packed/: every file of assets/web/ as .br and .gz, for the server to embed.
// `assets/compress.mjs --check` writes nothing and fails if a packed file does not fit its source.
import { readdirSync, readFileSync, writeFileSync, mkdirSync, rmSync, existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { brotliCompressSync, brotliDecompressSync, constants, gzipSync, gunzipSync } from 'node:zlib';

const here = import.meta.dirname;
const [web, packed] = [join(here, 'web'), join(here, 'packed')];
const files = (dir) =>
  existsSync(dir) ? readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => e.isFile()).map((e) => relative(dir, join(e.parentPath ?? e.path, e.name))).sort() : [];

if (process.argv.includes('--check')) {
  const stale = [];
  for (const name of files(web)) {
    const source = readFileSync(join(web, name));
    for (const [ending, unpack] of [['br', brotliDecompressSync], ['gz', gunzipSync]]) {
      const path = join(packed, `${name}.${ending}`);
      if (!existsSync(path) || !unpack(readFileSync(path)).equals(source)) stale.push(`${name}.${ending}`);
    }
  }
  for (const name of files(packed)) if (!existsSync(join(web, name.replace(/\.(br|gz)$/, '')))) stale.push(name);
  if (stale.length) {
    console.error(`stale: ${stale.join(', ')}; run assets/compress.mjs`);
    process.exit(1);
  }
} else {
  rmSync(packed, { recursive: true, force: true });
  for (const name of files(web)) {
    const source = readFileSync(join(web, name));
    const path = join(packed, name);
    mkdirSync(dirname(path), { recursive: true });
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: source.length };
    writeFileSync(`${path}.br`, brotliCompressSync(source, { params }));
    writeFileSync(`${path}.gz`, gzipSync(source, { level: 9 }));
  }
}
