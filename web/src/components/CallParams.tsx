import { Code, Text } from '@mantine/core';
import type { ToolApproval } from '../api/client';
import { seen } from '../words';

/** Longer values are folded, in characters. */
const FOLDED_OVER = 160;

/** Arguments that name something whose title the service tells to whoever may see it. */
const NAMES_SOMETHING = /(?:[Pp]age|[Tt]ask|[Pp]roject|[Ss]pace|[Cc]omment|[Pp]arent)Id$/;

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
        <Argument key={name} name={name} value={value} thing={named.find(({ argument }) => argument === name)} />
      ))}
    </dl>
  );
}

function Argument({ name, value, thing }: { name: string; value: unknown; thing?: ToolApproval['named'][number] }) {
  const text = json(value);
  const isUnknown = !thing && NAMES_SOMETHING.test(name) && typeof value === 'string' && value !== '';
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
        {isUnknown && (
          <Text size="sm" c="dimmed">
            not among what you see
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
