package import FoundationEssentials

/// A pipeline that has the idempotency key of a new one, as far as it counts whose key that is.
package struct KeyHolder: Sendable, Hashable {
    package var id: UUID
    package var workflow: String
    /// The pipeline whose task began it as a part of its own.
    package var parent: UUID?

    package init(id: UUID, workflow: String, parent: UUID?) {
        self.id = id
        self.workflow = workflow
        self.parent = parent
    }
}

extension NewPipeline {
    /// True when it takes its key from a pipeline of its workflow that failed or was cancelled. The keys of children count the
    /// beginnings of a child, and are never taken.
    package var takesKey: Bool {
        self.options.idempotencyKey != nil && self.options.keyReuse == .afterFailure && self.parent == nil
    }

    /// The answer to a new pipeline whose key another one has; nil when that depends on the values of the two inputs, whose texts
    /// differ.
    ///
    /// A child is its parent's by its key, whatever its input was in an earlier attempt at the task.
    func answer(for holder: KeyHolder, hasSameText: Bool) -> Creation? {
        guard self.isSame(as: holder) else { return .conflicts(holder) }
        return self.parent != nil || hasSameText ? .exists(holder.id) : nil
    }

    /// The answer to a new pipeline when the holder of its key has an input of another text; nil stands for one that is larger than
    /// what is read.
    func answer(for holder: KeyHolder, storedInput: String?) -> Creation {
        storedInput.map { self.hasSameInput(as: $0) } == true ? .exists(holder.id) : .conflicts(holder)
    }

    /// True when the holder of its key is of its workflow, and a child of the same parent's, or nobody's like itself.
    func isSame(as holder: KeyHolder) -> Bool {
        // As databases compare them.
        self.workflow.utf8.elementsEqual(holder.workflow.utf8) && self.parent == holder.parent
    }

    /// True when its input has the values that a stored text has, which may be written in another way.
    func hasSameInput(as text: String) -> Bool {
        let own = self.input.jsonText
        if own.utf8.elementsEqual(text.utf8) { return true }
        // Both as they are read back: what can't be read is nobody's equal.
        guard let own = try? Context(parsing: own, byteLimit: .max),
            let stored = try? Context(parsing: text, byteLimit: .max)
        else { return false }
        return own == stored
    }
}

extension Creation {
    /// The earlier pipeline that the caller is given; nil when the new one is stored.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/keyConflict``.
    func earlier(than new: NewPipeline) throws(PipelineError) -> UUID? {
        switch self {
        case .created: nil
        // The id is new, so when it exists, an earlier try was stored although its answer was lost.
        case .exists(let id): id == new.id ? nil : id
        case .conflicts(let holder): throw PipelineError(refusing: new, for: holder)
        }
    }
}

extension PipelineError {
    /// The error of a caller whose idempotency key is another pipeline's.
    init(refusing new: NewPipeline, for holder: KeyHolder) {
        // Escaped: a key may hold anything, and an error is logged.
        let key = (new.options.idempotencyKey ?? "").debugDescription
        let owner = "the idempotency key \(key) belongs to the pipeline \(holder.id) of \"\(holder.workflow)\""
        let message =
            if new.parent != nil, new.parent == holder.parent {
                "\(owner), a child of this task, and not to one of \"\(new.workflow)\": "
                    + "call each child of a task by a name of its own"
            } else if let parent = holder.parent {
                "\(owner), a child of the pipeline \(parent): take another key"
            } else if new.parent != nil {
                "\(owner), and is the key of this task's child of \"\(new.workflow)\": "
                    + "call the child by another name, and take other keys for other pipelines"
            } else if !new.isSame(as: holder) {
                "\(owner), not to one of \"\(new.workflow)\": take keys for each workflow, such as with its name before them"
            } else {
                "\(owner), which was given another input: give the same input, take another key, or ask for the result of that "
                    + "pipeline; with keyReuse .afterFailure a new one takes its key once it has failed or was cancelled"
            }
        self.init(.keyConflict, message)
    }
}
