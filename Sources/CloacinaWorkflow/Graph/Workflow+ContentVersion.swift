extension ContentVersion {
    /// What changes how one task behaves, beside its id and its dependencies.
    package struct TaskBehavior: Sendable, Hashable {
        /// The version that the author or a macro gave the task's code; nil when nobody did.
        package var codeVersion: String?
        /// The retry policy, as ``JSONValue/jsonText(fileID:line:)`` writes it: one text for one policy.
        package var retryPolicy: String?
        /// The trigger rule, written like the retry policy.
        package var triggerRule: String?
        /// How long an attempt may take; nil for no limit.
        package var timeout: Duration?

        package init(
            codeVersion: String? = nil, retryPolicy: String? = nil, triggerRule: String? = nil, timeout: Duration? = nil
        ) {
            self.codeVersion = codeVersion
            self.retryPolicy = retryPolicy
            self.triggerRule = triggerRule
            self.timeout = timeout
        }
    }
}

extension Workflow {
    /// The version of the workflow's name, its tasks in declared order, each one's dependencies in the order it names them,
    /// and what the closure says of each task.
    ///
    /// The description isn't part of it. Changing what is hashed, or how, strands the runs that are pinned to a version: the
    /// format's name has to change with it, so that this doesn't happen unseen.
    package func contentVersion(describing behavior: (WorkflowTask) -> ContentVersion.TaskBehavior) -> ContentVersion {
        var builder = ContentVersion.Builder(format: "cloacina.workflow/1")
        builder.add("workflow", self.name)
        builder.add("tasks", self.tasks.map(\.id))
        for (task, dependencies) in zip(self.tasks, self.graph.dependencies) {
            let behavior = behavior(task)
            builder.add("task", task.id)
            builder.add("dependencies", dependencies.map { self.tasks[$0].id })
            builder.add("code", behavior.codeVersion)
            builder.add("retry", behavior.retryPolicy)
            builder.add("trigger", behavior.triggerRule)
            builder.add("timeout", behavior.timeout)
        }
        return builder.finish()
    }
}

extension Workflow {
    /// What the workflow does, as a hash: it changes with the name, the tasks' ids and their order, dependencies, policies,
    /// rules, timeouts and ``WorkflowTask/codeVersion``. A run goes on in the version it began with.
    public var contentVersion: ContentVersion {
        self.contentVersion { task in
            // Policies and rules were checked when the workflow was made, so both have a JSON form.
            ContentVersion.TaskBehavior(
                codeVersion: task.codeVersion, retryPolicy: try? task.retry.jsonText(),
                triggerRule: task.triggerRule.flatMap { try? $0.jsonText() }, timeout: task.timeout)
        }
    }
}
