import type { Log } from '../telemetry/log.ts'
import type { Contract } from '../validation/contract.ts'
import { createValidator, type Validator } from '../validation/validator.ts'
import type { DocumentedOperation, Documents } from './documents.ts'
import type { Route } from './gateway.ts'

/** The checks of documented operations, each made when the first request asks for it. */
export interface Contracts {
  /** Undefined when there is none: the document is not there, or cannot be made into checks just now. */
  validatorFor(operation: DocumentedOperation, route: Route): Validator | Promise<Validator | undefined>
}

/** Characters of source that are kept: what was not used for longest goes first. */
const mostSource = 32 * 1_048_576

interface Entry {
  readonly validator: Validator
  readonly size: number
}

export function createContracts(documents: Pick<Documents, 'contract'>, log: Log): Contracts {
  const made = new Map<DocumentedOperation, Entry>()
  const underWay = new Map<DocumentedOperation, Promise<Validator | undefined>>()
  let kept = 0

  return {
    validatorFor(operation, route) {
      const known = made.get(operation)
      if (known) {
        // The last in the order of the map is the one that was used last.
        made.delete(operation)
        made.set(operation, known)
        return known.validator
      }
      const running = underWay.get(operation)
      if (running) return running
      const making = make(operation, route).finally(() => underWay.delete(operation))
      underWay.set(operation, making)
      return making
    },
  }

  async function make(operation: DocumentedOperation, route: Route): Promise<Validator | undefined> {
    try {
      const contract = await documents.contract(operation)
      const { method, path } = operation.document.operations[operation.index]!
      if (contract.unchecked.length > 0) {
        const facts = { service: route.service.name, operation: `${method} ${path}`, unchecked: contract.unchecked }
        log.warn(facts, 'some of what the document says cannot be checked')
      }
      const validator = createValidator(contract, (form) => route.covers(form.in, form.name))
      keep(operation, { validator, size: sizeOf(contract) })
      return validator
    } catch (error) {
      log.warn({ err: error, service: route.service.name }, 'requests cannot be held against the document just now')
      return undefined
    }
  }

  function keep(operation: DocumentedOperation, entry: Entry): void {
    made.set(operation, entry)
    kept += entry.size
    for (const [oldest, { size }] of made) {
      if (kept <= mostSource || oldest === operation) return
      made.delete(oldest)
      kept -= size
    }
  }
}

function sizeOf({ parametersCode, content }: Contract): number {
  const codes = [parametersCode, ...(content?.media ?? []).map(({ code }) => code)]
  return codes.reduce((sum, code) => sum + (code?.length ?? 0), 1_024)
}
