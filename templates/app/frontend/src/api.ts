/** The backend's API, as the page sees it. */

export interface Product {
  id: number
  name: string
  price: string
}

export interface Hello {
  greeting: string
  time: string
  products: Product[]
}

/** Ask the backend for what the page shows; rejects with a sentence for the reader. */
export async function fetchHello(signal?: AbortSignal): Promise<Hello> {
  const response = await fetch(`${import.meta.env.BASE_URL}api/hello`, { signal })
  if (!response.ok) {
    throw new Error(`The shop answered ${response.status}.`)
  }
  return response.json()
}
