import { useEffect, useState } from 'react'
import { fetchHello, type Hello } from './api.ts'

export default function App() {
  const [hello, setHello] = useState<Hello>()
  const [error, setError] = useState<string>()
  const [attempt, setAttempt] = useState(0)

  useEffect(() => {
    const controller = new AbortController()
    fetchHello(controller.signal)
      .then(setHello)
      .catch((reason: Error) => {
        if (!controller.signal.aborted) setError(reason.message)
      })
    return () => controller.abort()
  }, [attempt])

  function retry() {
    setError(undefined)
    setAttempt(attempt + 1)
  }

  return (
    <main>
      <h1>Shop</h1>
      {error !== undefined ? (
        <section role="alert">
          <p>The shop can’t be reached. {error}</p>
          <button type="button" onClick={retry}>
            Try again
          </button>
        </section>
      ) : hello === undefined ? (
        <p aria-busy="true">Loading…</p>
      ) : (
        <Shelf hello={hello} />
      )}
    </main>
  )
}

function Shelf({ hello }: { hello: Hello }) {
  return (
    <>
      <p>{hello.greeting}</p>
      <ul>
        {hello.products.map((product) => (
          <li key={product.id}>
            <span>{product.name}</span>
            <span className="price">€{product.price}</span>
          </li>
        ))}
      </ul>
      <footer>
        Fetched at <time dateTime={hello.time}>{new Date(hello.time).toLocaleTimeString()}</time>
      </footer>
    </>
  )
}
