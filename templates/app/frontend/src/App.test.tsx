import { cleanup, fireEvent, render, screen } from '@testing-library/react'
import { afterEach, expect, test, vi } from 'vitest'
import App from './App.tsx'

const hello = {
  greeting: 'Hello from Flask',
  time: '2026-01-02T03:04:05+00:00',
  products: [{ id: 1, name: 'Stoneware mug', price: '18.00' }],
}

afterEach(() => {
  cleanup()
  vi.unstubAllGlobals()
})

test('shows what the backend says', async () => {
  const fetch = vi.fn(async () => Response.json(hello))
  vi.stubGlobal('fetch', fetch)
  render(<App />)
  expect(screen.getByText('Loading…')).toBeDefined()
  expect(await screen.findByText('Hello from Flask')).toBeDefined()
  expect(screen.getByText('Stoneware mug')).toBeDefined()
  expect(screen.getByText('€18.00')).toBeDefined()
  expect(fetch).toHaveBeenCalledWith('/api/hello', expect.anything())
})

test('says why there is nothing to show, and tries again', async () => {
  const fetch = vi
    .fn<() => Promise<Response>>()
    .mockResolvedValueOnce(new Response(null, { status: 503 }))
    .mockResolvedValue(Response.json(hello))
  vi.stubGlobal('fetch', fetch)
  render(<App />)
  expect((await screen.findByRole('alert')).textContent).toContain('The shop answered 503.')
  fireEvent.click(screen.getByRole('button', { name: 'Try again' }))
  expect(await screen.findByText('Hello from Flask')).toBeDefined()
})

test('says so when the network is down', async () => {
  vi.stubGlobal('fetch', async () => {
    throw new TypeError('Failed to fetch')
  })
  render(<App />)
  expect((await screen.findByRole('alert')).textContent).toContain('Failed to fetch')
})
