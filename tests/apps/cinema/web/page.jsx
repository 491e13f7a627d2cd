// What the four frontends share: a page that asks its own service who it is.
import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'

function Page({ name, base }) {
  const [told, setTold] = useState('')
  useEffect(() => {
    fetch(`${base}api/whoami`).then((answer) => answer.text()).then(setTold)
  }, [base])
  return <h1>{name}: {told}</h1>
}

export const show = (name, base) => createRoot(document.getElementById('root')).render(<Page name={name} base={base} />)
