/** One word: unquoted characters and quoted stretches in any mix. */
const WORD = /(?:[^\s'"]|'[^']*'|"[^"]*")+/g;

/** Splits a command line into program and arguments; single and double quotes keep spaces together. */
export function splitCommand(line: string): string[] {
  const quotes = /'[^']*'|"[^"]*"/g;
  if (/['"]/.test(line.replace(quotes, ''))) throw new Error('The command has a quote that is not closed.');
  return (line.match(WORD) ?? []).map((word) => word.replace(quotes, (quoted) => quoted.slice(1, -1)));
}
