// Bundle parts.mjs into ../bonsai/web/parts.js and parts.css, licences first: `make parts`.
import { build } from "esbuild";
import { readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";

const out = "../bonsai/web";
const { metafile, outputFiles } = await build({
  entryPoints: ["parts.mjs"],
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "parts",
  target: "es2022",
  charset: "utf8",
  legalComments: "none", // the whole licences stand in front
  outfile: "parts.js",
  metafile: true,
  write: false,
});

const names = new Set(
  Object.keys(metafile.inputs).flatMap((path) => path.match(/node_modules\/([^/]+)/)?.[1] ?? []),
);
const notices = [...names].sort().map((name) => {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} has no licence file`);
  const text = readFileSync(`${folder}/${file}`, "utf8").trim();
  return `${name} ${version}\n\n${text}`;
});
const banner = `/* Made by \`make parts\`; do not edit. It holds:\n\n${notices.join("\n\n----\n\n")}\n*/\n`;

for (const { path, text } of outputFiles) {
  const name = path.replace(/.*[/\\]/, "");
  if (/<\/script|<!--|<\/style/i.test(text)) throw new Error(`${name} cannot stand inside a page`);
  writeFileSync(`${out}/.${name}.part`, banner + text);
  renameSync(`${out}/.${name}.part`, `${out}/${name}`);
}
