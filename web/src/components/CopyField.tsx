import { Box, Button, Code, Group, Text } from '@mantine/core';
import { useClipboard } from '@mantine/hooks';

/** A labelled value (the label as it reads inside a sentence) to carry elsewhere, with a button that copies it. */
export function CopyField({ label, value }: { label: string; value: string }) {
  const clipboard = useClipboard();
  return (
    <Box>
      <Group justify="space-between" mb={4}>
        <Text className="sentence-case" size="sm" fw={500}>
          {label}
        </Text>
        <Button
          size="compact-xs"
          variant="light"
          color={clipboard.copied ? 'teal' : undefined}
          onClick={() => clipboard.copy(value)}
        >
          {clipboard.error ? 'Not copied: select it below' : clipboard.copied ? 'Copied' : `Copy ${label}`}
        </Button>
      </Group>
      <Code block className="mono" style={{ whiteSpace: 'pre-wrap' }}>
        {value}
      </Code>
    </Box>
  );
}
