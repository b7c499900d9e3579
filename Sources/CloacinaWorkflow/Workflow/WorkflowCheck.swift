/// Refuses what can't run, with the name of what is wrong.
struct WorkflowCheck {
    let workflow: String
    let tasks: [WorkflowTask]
    let fileID: String
    let line: Int

    /// The position of every task id.
    func positions() throws(WorkflowError) -> [String: Int] {
        guard Self.isName(self.workflow) else { throw self.error(.invalidName, "\"\(self.workflow)\" is no name") }
        guard !self.tasks.isEmpty else {
            throw self.error(.emptyWorkflow, "workflow \"\(self.workflow)\" has no tasks")
        }
        var positions: [String: Int] = [:]
        for (position, task) in self.tasks.enumerated() {
            guard Self.isName(task.id) else { throw self.error(.invalidName, "\"\(task.id)\" is no task id") }
            guard positions.updateValue(position, forKey: task.id) == nil else {
                throw self.error(.duplicateTask, "two tasks are called \"\(task.id)\"")
            }
        }
        return positions
    }

    /// Who waits for whom.
    func graph(positions: [String: Int]) throws(WorkflowError) -> TaskGraph {
        var dependencies: [[Int]] = []
        for task in self.tasks {
            var found: [Int] = []
            for id in task.dependencies {
                guard id != task.id else { throw self.error(.selfDependency, "\"\(id)\" comes after itself") }
                guard let position = positions[id] else { throw self.missing(id, of: task) }
                if !found.contains(position) { found.append(position) }
            }
            dependencies.append(found)
        }
        let graph = TaskGraph(dependencies: dependencies)
        if let circle = graph.circle {
            let path = circle.map { self.tasks[$0].id }
            throw WorkflowError(
                .cyclicDependency, "\(path.joined(separator: " after ")): a circle", path: path, fileID: self.fileID,
                line: self.line)
        }
        for (position, task) in self.tasks.enumerated() { try self.checkPolicies(of: task, position, graph) }
        return graph
    }

    private func checkPolicies(of task: WorkflowTask, _ position: Int, _ graph: TaskGraph) throws(WorkflowError) {
        do throws(WorkflowError) {
            try task.retry.validate(fileID: self.fileID, line: self.line)
            if task.triggerRule != nil || !task.handles.isEmpty {
                let awaited = graph.ancestry(of: [position]).dropLast().map { self.tasks[$0].id }
                try task.triggerRule?.validate(waitingFor: awaited, fileID: self.fileID, line: self.line)
                try self.checkHandled(by: task, awaited: awaited)
            }
        } catch {
            throw WorkflowError(
                error.code, "\"\(task.id)\": \(error.message)", suggestion: error.suggestion,
                underlying: error.underlying, fileID: self.fileID, line: self.line)
        }
        if let timeout = task.timeout, timeout <= .zero {
            throw self.error(.invalidValue, "the timeout of \"\(task.id)\" is not positive: \(timeout)")
        }
    }

    /// Refuses to handle the failure of a task that may fail later, or of one whose failure keeps this one from running.
    private func checkHandled(by task: WorkflowTask, awaited: [String]) throws(WorkflowError) {
        let known = Set(awaited)
        for id in task.handles {
            guard known.contains(id) else {
                throw WorkflowError(
                    .invalidRule, "it handles the failure of \"\(id)\", which it doesn't wait for",
                    suggestion: NameSuggestion.nearest(to: id, in: awaited.sorted()), fileID: self.fileID,
                    line: self.line)
            }
            guard task.triggerRule != nil || !task.dependencies.contains(id) else {
                throw self.error(
                    .invalidRule,
                    "it handles the failure of \"\(id)\" and has no trigger rule, so it is skipped when that fails")
            }
        }
    }

    private static func isName(_ text: String) -> Bool {
        guard TaskNamespace.canBePart(text), text.utf8.count <= Workflow.maximumNameBytes else { return false }
        guard text.first?.isWhitespace == false, text.last?.isWhitespace == false else { return false }
        return text.unicodeScalars.allSatisfy { scalar in
            switch scalar.properties.generalCategory {
            case .control, .lineSeparator, .paragraphSeparator: false
            default: true
            }
        }
    }

    private func missing(_ id: String, of task: WorkflowTask) -> WorkflowError {
        WorkflowError(
            .missingDependency,
            "\"\(task.id)\" comes after \"\(id)\", which workflow \"\(self.workflow)\" doesn't have",
            suggestion: NameSuggestion.nearest(to: id, in: self.tasks.map(\.id).filter { $0 != task.id }),
            fileID: self.fileID, line: self.line)
    }

    private func error(_ code: WorkflowError.Code, _ message: String) -> WorkflowError {
        WorkflowError(code, message, fileID: self.fileID, line: self.line)
    }
}
