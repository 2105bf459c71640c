// Parses the AsyncAPI document that is named and prints what the parser says of it, one JSON object a line.
import { Parser, fromFile } from '@asyncapi/parser';

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const { severity, code, path, message } of diagnostics) {
  console.log(JSON.stringify({ error: severity === 0, code, at: path.join('.'), message }));
}
process.exitCode = document ? 0 : 1;
