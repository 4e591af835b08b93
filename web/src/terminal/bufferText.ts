import type { Terminal } from '@xterm/xterm';

/** All text the terminal holds, scrollback included, with wrapped lines joined again. */
export function bufferText(term: Terminal): string {
  const buffer = term.buffer.active;
  let text = '';
  for (let row = 0; row < buffer.length; row++) {
    const continues = buffer.getLine(row + 1)?.isWrapped ?? false;
    text += buffer.getLine(row)?.translateToString(!continues) ?? '';
    if (!continues) text += '\n';
  }
  return text.trimEnd();
}
