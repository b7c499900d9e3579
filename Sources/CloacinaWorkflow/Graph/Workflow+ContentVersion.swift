extension ContentVersion {
    /// What changes how one task behaves, beside its id and its dependencies.
    package struct TaskBehavior: Sendable, Hashable {
        /// The version that the author or a macro gave the task's code; nil when nobody did.
        package var codeVersion: String?
        /// The trigger rule, as ``JSONValue/jsonText(fileID:line:)`` writes it: one text for one rule.
        package var triggerRule: String?
        /// The tasks whose failure it handles.
        package var handles: [String]

        package init(codeVersion: String? = nil, triggerRule: String? = nil, handles: [String] = []) {
            self.codeVersion = codeVersion
            self.triggerRule = triggerRule
            self.handles = handles
        }
    }
}

extension Workflow {
    /// The version of the workflow's name, its tasks in declared order, each one's dependencies in the order it names them,
    /// and what the closure says of each task.
    ///
    /// The description isn't part of it, and neither are retry policies and timeouts. Changing what is hashed, or how, strands the runs that are pinned to a version: the
    /// format's name has to change with it, so that this doesn't happen unseen.
    package func contentVersion(describing behavior: (WorkflowTask) -> ContentVersion.TaskBehavior) -> ContentVersion {
        var builder = ContentVersion.Builder(format: "cloacina.workflow/2")
        builder.add("workflow", self.name)
        builder.add("tasks", self.tasks.map(\.id))
        for (task, dependencies) in zip(self.tasks, self.graph.dependencies) {
            let behavior = behavior(task)
            builder.add("task", task.id)
            builder.add("dependencies", dependencies.map { self.tasks[$0].id })
            builder.add("code", behavior.codeVersion)
            builder.add("trigger", behavior.triggerRule)
            if !behavior.handles.isEmpty { builder.add("handles", behavior.handles) }
        }
        return builder.finish()
    }
}

extension Workflow {
    /// The workflow's shape and code as a hash: it changes with the name, the tasks' ids and their order, dependencies, rules,
    /// ``WorkflowTask/handles`` and ``WorkflowTask/codeVersion``. A run goes on in the version it began with.
    ///
    /// Retry policies, timeouts and descriptions aren't part of it: a run that has begun goes on under those that hold now.
    public var contentVersion: ContentVersion {
        self.contentVersion { task in
            // Rules were checked when the workflow was made, so each has a JSON form.
            ContentVersion.TaskBehavior(
                codeVersion: task.codeVersion, triggerRule: task.triggerRule.flatMap { try? $0.jsonText() },
                handles: task.handles)
        }
    }
}
