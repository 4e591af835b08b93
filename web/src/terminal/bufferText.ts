import type { Terminal } from '@xterm/xterm';

/**
 * All text the terminal holds, scrollback included, with wrapped lines joined again. Blanks at the end of a line are left
 * out: where the service drew the screen it filled lines up with them.
 */
export function bufferText(term: Terminal): string {
  const buffer = term.buffer.active;
  let text = '';
  let line = '';
  for (let row = 0; row < buffer.length; row++) {
    const continues = buffer.getLine(row + 1)?.isWrapped ?? false;
    line += buffer.getLine(row)?.translateToString(!continues) ?? '';
    if (continues) continue;
    text += `${line.trimEnd()}\n`;
    line = '';
  }
  return text.trimEnd();
}
