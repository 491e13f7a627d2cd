// Bundles the workspace it is called in: dist/index.html and dist/assets/NAME-HASH.js, under BASE_PATH.
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { build } from 'esbuild'

const base = process.env.BASE_PATH ?? '/'
const name = basename(process.cwd())
const result = await build({
  stdin: { contents: `import { show } from '../page.jsx'; show('${name}', '${base}')`, resolveDir: process.cwd(), loader: 'jsx' },
  bundle: true,
  minify: true,
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  entryNames: `assets/${name}-[hash]`,
  outdir: 'dist',
  metafile: true,
})
const script = Object.keys(result.metafile.outputs)[0].replace(/^dist\//, '')
if (readFileSync(`dist/${script}`).length === 0) throw new Error(`${script} is empty`)
writeFileSync('dist/index.html', `<!doctype html><title>${name}</title><div id="root"></div><script type="module" src="${base}${script}"></script>\n`)
