/// The changes of one pipeline's tasks, and the context that each next task is given.
///
/// A task is given the input and then, once each and dependencies first, the delta of everything it depends on. All of that has
/// ended by then (``PipelineStateMachine`` sees to it), so a context that was given once stands for the whole ancestry.
struct ContextLedger {
    /// A merged context and the tasks whose changes are in it.
    private struct Merge {
        var context: Context
        var covered: TaskSet
    }

    private let graph: TaskGraph
    private let input: Context
    private var deltas: [ContextDelta?]
    /// The contexts that finished tasks left, as long as a dependent may still build on them.
    private var outputs: [Int: Merge] = [:]
    /// The tasks behind the context that each running task was given.
    private var given: [Int: TaskSet] = [:]
    private var awaited: [Int]
    private let firstLeaf: Int?
    /// The last merge: tasks of one layer often have the same dependencies.
    private var last: (dependencies: [Int], merge: Merge)?

    init(graph: TaskGraph, input: Context) {
        self.graph = graph
        self.input = input
        self.deltas = Array(repeating: nil, count: graph.count)
        self.awaited = graph.dependents.map(\.count)
        self.firstLeaf = graph.dependents.firstIndex(where: \.isEmpty)
    }

    /// Notes what a completed task changed.
    mutating func record(_ delta: ContextDelta, of position: Int) { self.deltas[position] = delta }

    /// Notes the context that a completed task left, which spares merging it again.
    mutating func remember(_ output: Context, of position: Int) {
        guard var covered = self.given.removeValue(forKey: position) else { return }
        guard self.awaited[position] > 0 || self.firstLeaf == position else { return }
        covered.insert(position)
        self.outputs[position] = Merge(context: output, covered: covered)
    }

    /// Forgets what a task was given that did not complete.
    mutating func forgetGiven(to position: Int) { self.given[position] = nil }

    /// Notes that a task has ended, and builds on nothing any more.
    mutating func release(_ position: Int) {
        for dependency in self.graph.dependencies[position] {
            self.awaited[dependency] -= 1
            if self.awaited[dependency] <= 0, dependency != self.firstLeaf { self.outputs[dependency] = nil }
        }
    }

    /// The context that a task starts from.
    mutating func given(to position: Int) throws(WorkflowError) -> Context {
        let merge = try self.merge(self.graph.dependencies[position], onto: self.input)
        self.given[position] = merge.covered
        return merge.context
    }

    /// The context that a task would start from, whatever its size: for its rule to look at.
    mutating func preview(of position: Int) -> Context {
        let unlimited = Context(self.input, byteLimit: .max)
        return (try? self.merge(self.graph.dependencies[position], onto: unlimited))?.context ?? unlimited
    }

    /// The context as it is after a task: what it was given and what it changed.
    mutating func output(of position: Int) -> Context {
        let unlimited = Context(self.input, byteLimit: .max)
        return (try? self.merge([position], onto: unlimited))?.context ?? unlimited
    }

    /// The context that the pipeline hands back: the input and every completed task's delta, merged like a task's after all the
    /// leaves. Its size has no limit, since every part of it is stored already.
    mutating func final() throws(WorkflowError) -> Context {
        let unlimited = Context(self.input, byteLimit: .max)
        return try self.merge(self.graph.leaves, onto: unlimited).context
    }

    private mutating func merge(_ tasks: [Int], onto input: Context) throws(WorkflowError) -> Merge {
        guard let first = tasks.first else { return Merge(context: input, covered: TaskSet()) }
        if let last = self.last, last.dependencies == tasks {
            var context = Context(last.merge.context, byteLimit: input.byteLimit)
            // A rule has looked at it whatever its size.
            try context.apply([])
            return Merge(context: context, covered: last.merge.covered)
        }
        // The order begins with all that the first one builds on, which is in its output.
        var merge = Merge(context: input, covered: TaskSet())
        if let output = self.outputs[first] {
            merge.covered = output.covered
            merge.context = Context(output.context, byteLimit: input.byteLimit)
        }
        let order = self.graph.ancestry(of: tasks, adding: &merge.covered)
        if !order.isEmpty { try merge.context.apply(order.compactMap { self.deltas[$0] }) }
        if tasks.count > 1 { self.last = (tasks, merge) }
        return merge
    }
}
