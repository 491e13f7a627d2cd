// Bundles the package whose script it is: dist/index.html and dist/assets/NAME-HASH.js, under BASE_PATH.
import { readFileSync, writeFileSync } from 'node:fs'
import { build } from 'esbuild'

const base = process.env.BASE_PATH ?? '/'
const name = process.env.npm_package_name
const result = await build({
  stdin: { contents: `import { show } from './page.jsx'; show('${name}', '${base}')`, resolveDir: import.meta.dirname, loader: 'jsx' },
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
