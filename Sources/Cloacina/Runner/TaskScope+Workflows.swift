public import CloacinaWorkflow
import FoundationEssentials
import Synchronization

/// Other workflows, as parts of a task.
extension TaskScope {
    /// Runs another workflow of this task's runner to its end, as a part of this task.
    ///
    /// The child belongs to the task, not to the attempt: when the task is run again after a failure or a crash, a child that
    /// has completed is not run again, one that still runs is waited for, and only one that failed or was cancelled is begun
    /// anew. While it waits, the task takes up none of the runner's slots. A child has its parent's priority.
    ///
    /// ```swift
    /// let invoice = try await scope.execute("invoice", as: "march", context: Context(["month": 3]))
    /// ```
    ///
    /// - Parameters:
    ///   - name: What the child is called among this task's children; a second call with the same name is given the first
    ///     one's result, whatever its input. The workflow's name by default.
    ///   - context: The child's input; what it hands back is in the result alone.
    ///   - timeout: How long the child may take; no limit by default.
    /// - Returns: What came of it, also when it failed; see ``PipelineResult/completed()``.
    /// - Throws: ``PipelineError`` as ``DefaultRunner/execute(_:context:options:observe:)``; with
    ///   ``PipelineError/Code/noDatabase`` when the task was not started by a runner, and with
    ///   ``PipelineError/Code/keyConflict`` when it has a child of another workflow by that name. A task that is cancelled
    ///   cancels its children and throws ``PipelineError/Code/cancelled``.
    public func execute(
        _ workflowName: String, as name: String? = nil, context: Context = Context(), timeout: Duration? = nil
    ) async throws(PipelineError) -> PipelineResult {
        guard let means = self.resource as? TaskMeans else {
            throw PipelineError(.noDatabase, "\"\(self.task)\" was not started by a runner")
        }
        try means.runner.checkHeldConnection()
        let name = name ?? workflowName
        let known = means.children.withLock { $0[name] }
        var number = known ?? 1
        while true {
            let key = ChildKey.make(parent: self.executionID, number: number, task: self.task, name: name)
            let options = ExecutionOptions(idempotencyKey: key, priority: means.place.priority, timeout: timeout)
            let (result, isNew) = try await means.runner.executeChild(
                workflowName, context: context, options: options, for: means)
            // One that did not complete in an earlier attempt at this task is followed by another.
            if known != nil || isNew || result.status == .completed || number >= self.attempt {
                means.children.withLock { $0[name] = number }
                return result
            }
            number += 1
        }
    }

    /// Runs a workflow once for each item of a list, some at a time, as parts of this task.
    ///
    /// ```swift
    /// let results = try await scope.executeEach("invoice", over: customers, id: \.number, limit: 8) { customer in
    ///     try Context(["customer": JSONValue(encoding: customer)])
    /// }
    /// for result in results { try result.completed() }
    /// ```
    ///
    /// Each is a child as with ``execute(_:as:context:timeout:)``, called by its item's id: a task that is run again goes on
    /// where it stopped, in whatever order the list is then.
    ///
    /// - Parameters:
    ///   - items: The list.
    ///   - id: What tells the items apart, the same in each attempt.
    ///   - limit: How many may run at the same time: 16. At least 1.
    ///   - timeout: How long each may take; no limit by default.
    ///   - context: Makes the input for an item.
    /// - Returns: What came of each, also of those that failed, in the order of the list.
    /// - Throws: What `context` throws; ``PipelineError`` with ``PipelineError/Code/duplicateItem`` when two items have one
    ///   id, before anything is begun; otherwise as ``execute(_:as:context:timeout:)``. Children that run are cancelled then.
    public func executeEach<Items: Collection, ID: Hashable & CustomStringConvertible>(
        _ workflowName: String, over items: Items, id: (Items.Element) -> ID, limit: Int = 16,
        timeout: Duration? = nil, context: (Items.Element) throws -> Context
    ) async throws -> [PipelineResult] {
        var names: Set<String> = []
        var children: [(name: String, context: Context)] = []
        for item in items {
            let name = "each \(workflowName.utf8.count)/\(workflowName)/\(id(item))"
            guard names.insert(name).inserted else {
                throw PipelineError(.duplicateItem, "two items have the id \"\(id(item))\"")
            }
            children.append((name, try context(item)))
        }
        return try await withThrowingTaskGroup(of: (Int, PipelineResult).self) { group in
            var results: [PipelineResult?] = Array(repeating: nil, count: children.count)
            for (index, child) in children.enumerated() {
                if index >= max(1, limit), let (done, result) = try await group.next() { results[done] = result }
                group.addTask {
                    let result = try await self.execute(
                        workflowName, as: child.name, context: child.context, timeout: timeout)
                    return (index, result)
                }
            }
            for try await (done, result) in group { results[done] = result }
            return results.compactMap { $0 }
        }
    }
}

extension DefaultRunner {
    /// Runs a task's child, or waits for the one that was begun before; cancels it when the task is cancelled.
    fileprivate func executeChild(
        _ workflowName: String, context: Context, options: ExecutionOptions, for means: TaskMeans
    ) async throws(PipelineError) -> (result: PipelineResult, isNew: Bool) {
        let execution: PipelineExecution
        do throws(PipelineError) {
            execution = try await self.outlastingOutages { () throws(PipelineError) in
                try await self.begin(workflowName, context: context, options: options, below: means.place)
            }
        } catch {
            throw means.noting(error.cuttingOff)
        }
        do throws(PipelineError) {
            let result = try await self.outlastingOutages { () throws(PipelineError) in
                try await self.result(of: execution.id, asChild: true)
            }
            return (result, execution.isOwn)
        } catch {
            // When a shutdown has cancelled the task, the child goes back into the queue as its parent does; also when that has ended
            // the wait for another child, which has cancelled this one.
            // So does that of a pipeline whose claim is lost: whoever has it begins the task again, which waits for the child.
            if Task.isCancelled, !means.isBegunAgain, !means.hasWaitedInVain, !self.state.withLock({ $0.isInterrupted })
            {
                // This must happen all the same.
                let cancelling = Task { () throws(PipelineError) -> Bool in
                    try await self.means.patiently { () throws(PipelineError) -> Bool in
                        try await execution.cancel()
                        return true
                    }
                }
                _ = await cancelling.result
            }
            throw means.noting(error.cuttingOff)
        }
    }
}

extension DefaultRunner {
    /// Asks again until the database answers: a task that waits has not failed. Its cancellation and its timeout end that.
    private func outlastingOutages<Value>(
        _ body: () async throws(PipelineError) -> Value
    ) async throws(PipelineError) -> Value {
        while true {
            do throws(PipelineError) {
                return try await body()
            } catch {
                guard error.isTransient || error.isUnreached, !Task.isCancelled else { throw error }
                try? await self.clock.sleep(for: DatabaseRetry.longestPause)
            }
        }
    }
}

extension PipelineError {
    /// The child goes on, or is begun, when the database is back, and so must the task: such an error is not the task's.
    fileprivate var cuttingOff: PipelineError {
        var error = self
        error.isCutOff = self.isTransient || self.isUnreached
        return error
    }
}
