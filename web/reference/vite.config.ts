import { defineConfig } from 'vite';

/** The API reference: a page of its own, so that it is there whatever client is served. Built from the folder `web`. */
export default defineConfig({
  root: 'reference',
  base: '/api/docs/',
  publicDir: false,
  build: { outDir: '../dist/reference', emptyOutDir: true },
});
