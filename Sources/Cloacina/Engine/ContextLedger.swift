/// What the tasks of one pipeline changed, and so the context that each next one is given.
///
/// A task is given the input and then, once each and dependencies first, the delta of everything it depends on.
struct ContextLedger {
    private let graph: TaskGraph
    private let input: Context
    private var deltas: [ContextDelta?]
    /// The contexts that finished tasks left, as long as a dependent may still build on them.
    private var outputs: [Int: Context] = [:]
    private var awaited: [Int]
    /// The last merge: tasks of one layer often have the same dependencies.
    private var merged: (dependencies: [Int], context: Context)?

    init(graph: TaskGraph, input: Context) {
        self.graph = graph
        self.input = input
        self.deltas = Array(repeating: nil, count: graph.count)
        self.awaited = graph.dependents.map(\.count)
    }

    /// Notes what a completed task changed.
    mutating func record(_ delta: ContextDelta, of position: Int) { self.deltas[position] = delta }

    /// Notes the context that a completed task left, which spares merging it again.
    mutating func remember(_ output: Context, of position: Int) {
        if self.awaited[position] > 0 || self.graph.dependents[position].isEmpty { self.outputs[position] = output }
    }

    /// The context that a task starts from.
    mutating func given(to position: Int) throws(WorkflowError) -> Context {
        let dependencies = self.graph.dependencies[position]
        let context: Context
        if let merged = self.merged, dependencies.count > 1, merged.dependencies == dependencies {
            context = merged.context
        } else {
            context = try self.merge(dependencies, onto: self.input)
            if dependencies.count > 1 { self.merged = (dependencies, context) }
        }
        for dependency in dependencies {
            self.awaited[dependency] -= 1
            if self.awaited[dependency] <= 0 { self.outputs[dependency] = nil }
        }
        return context
    }

    /// What a task would start from, whatever its size: for its rule to look at.
    func preview(of position: Int) -> Context {
        let unlimited = Context(self.input, byteLimit: .max)
        return (try? self.merge(self.graph.dependencies[position], onto: unlimited)) ?? unlimited
    }

    /// What is known after a task: what it was given and what it changed.
    func output(of position: Int) -> Context {
        let unlimited = Context(self.input, byteLimit: .max)
        return (try? self.merge([position], onto: unlimited)) ?? unlimited
    }

    /// What the pipeline hands back: the input and every completed task's delta, merged like a task's after all the leaves.
    /// Its size has no limit, since every part of it is stored already.
    func final() throws(WorkflowError) -> Context {
        let unlimited = Context(self.input, byteLimit: .max)
        return Context(try self.merge(self.graph.leaves, onto: unlimited), byteLimit: .max)
    }

    private func merge(_ tasks: [Int], onto input: Context) throws(WorkflowError) -> Context {
        guard let first = tasks.first else { return input }
        var context = input
        var order = self.graph.ancestry(of: tasks)[...]
        if let output = self.outputs[first], let end = order.firstIndex(of: first) {
            // The order begins with all that the first one builds on, which is in its output.
            context = Context(output, byteLimit: input.byteLimit)
            order = order[(end + 1)...]
        }
        try context.apply(order.compactMap { self.deltas[$0] })
        return context
    }
}
