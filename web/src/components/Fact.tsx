import { Text } from '@mantine/core';
import type { ReactNode } from 'react';

/** One line of a `dl` with the class `facts`. */
export function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <>
      <Text component="dt" size="sm" c="dimmed">
        {term}
      </Text>
      <Text component="dd" size="sm" m={0}>
        {children}
      </Text>
    </>
  );
}
