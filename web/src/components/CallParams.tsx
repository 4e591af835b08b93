import { Code, Text } from '@mantine/core';
import type { ToolApproval } from '../api/client';

/** Longer values are folded, in characters. */
const FOLDED_OVER = 160;

/** Characters that change how others are shown or are not seen at all; in a call to decide about they must be. */
const UNSEEN = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/**
 * What a tool call is given, as JSON, one line for each argument; long ones open on demand. `named` says what ids stand for.
 */
export function CallParams({ params, named = [] }: { params: unknown; named?: ToolApproval['named'] }) {
  const entries: [string, unknown][] =
    typeof params === 'object' && params !== null && !Array.isArray(params) ? Object.entries(params) : [['params', params]];
  if (entries.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        Without arguments.
      </Text>
    );
  }
  return (
    <dl className="facts">
      {entries.map(([name, value]) => (
        <Argument key={name} name={name} text={json(value)} thing={named.find(({ argument }) => argument === name)} />
      ))}
    </dl>
  );
}

function Argument({ name, text, thing }: { name: string; text: string; thing?: ToolApproval['named'][number] }) {
  return (
    <>
      <Text component="dt" size="sm" className="mono" c="dimmed">
        {name}
      </Text>
      <Text component="dd" size="sm" m={0} miw={0}>
        {thing && (
          <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
            {thing.kind === 'comment' ? 'comment on page' : thing.kind} <b>{seen(thing.title ?? 'Untitled')}</b>
          </Text>
        )}
        {text.length <= FOLDED_OVER ? (
          <span className="mono">{text}</span>
        ) : (
          <details>
            <summary className="mono">
              {text.slice(0, FOLDED_OVER / 2)}… ({text.length.toLocaleString('en')} characters)
            </summary>
            <Code block className="mono call-value">
              {text}
            </Code>
          </details>
        )}
      </Text>
    </>
  );
}

function json(value: unknown): string {
  const line = JSON.stringify(value) ?? 'null';
  const text = line.length <= FOLDED_OVER ? line : JSON.stringify(value, null, 2);
  return seen(text);
}

function seen(text: string): string {
  return text.replace(UNSEEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
