import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const service = 'http://127.0.0.1:3000';

/** The service accepts cookies only from its own origin, so the proxy speaks as if the page came from there. */
const asSameOrigin = { target: service, changeOrigin: true, headers: { origin: service } };

export default defineConfig({
  plugins: [react()],
  // One file on purpose: the service serves it from the same host, and no page can miss a part after an upgrade.
  build: { outDir: 'dist', emptyOutDir: true, chunkSizeWarningLimit: 1200 },
  server: {
    proxy: {
      '/api': asSameOrigin,
      '/socket.io': { ...asSameOrigin, ws: true },
    },
  },
});
