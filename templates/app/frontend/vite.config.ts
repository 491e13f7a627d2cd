import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

// https://vite.dev/config/
export default defineConfig({
  // Where the service is reached, with a slash at both ends; `kiln bake` sets it from kiln.toml.
  base: process.env.BASE_PATH ?? '/',
  plugins: [react()],
  server: {
    // `npm run dev` beside `flask --app shop run` in ../backend
    proxy: { '/api': 'http://127.0.0.1:5000' },
  },
  test: {
    environment: 'jsdom',
  },
})
