// .gz and .br beside each file, so that nginx compresses nothing while it serves.
const fs = require("fs"), zlib = require("zlib");
for (const file of process.argv.slice(2)) {
    const content = fs.readFileSync(file);
    fs.writeFileSync(file + ".gz", zlib.gzipSync(content, { level: 9 }));
    fs.writeFileSync(file + ".br", zlib.brotliCompressSync(content));
}
