import CloacinaWorkflow
import TestSupport

extension WorkflowTask {
    /// A task that counts its beginnings, hands on the number of its own as `by`, and waits until that one may end.
    static func numbering(_ id: String, _ begun: Tally, mayEnd: [Tally]) -> WorkflowTask {
        WorkflowTask(id) { context in
            begun.add()
            let number = begun.count
            await mayEnd[min(number, mayEnd.count) - 1].reached(1)
            try context.set("by", to: number)
        }
    }
}
