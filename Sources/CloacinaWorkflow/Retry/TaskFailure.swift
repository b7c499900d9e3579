/// What an attempt at a task ended with, as far as a ``RetryPolicy`` and the history need to know.
public struct TaskFailure: Sendable, Hashable {
    /// How many bytes of an error's text are kept; an ellipsis stands for the rest.
    public static let maximumTextBytes = 4_096

    /// The error in words that every database takes: bounded, without NUL characters.
    public let text: String
    /// The name of the error's type.
    public let typeName: String
    /// Whether the same attempt may succeed later; ``TransientError`` defines it.
    public let isTransient: Bool
    /// How long the error asks to wait before the next attempt.
    public let retryAfter: Duration?

    /// Describes a failure that isn't an error a task threw.
    public init(text: String, typeName: String, isTransient: Bool, retryAfter: Duration? = nil) {
        self.text = Self.storable(text)
        self.typeName = typeName
        self.isTransient = isTransient
        self.retryAfter = retryAfter
    }

    /// Describes what a task threw.
    public init(_ error: any Error) {
        let text = Self.storable("\(error)")
        self.text = text
        self.typeName = "\(type(of: error))"
        self.retryAfter = (error as? any TransientError)?.retryAfter
        self.isTransient =
            switch error {
            case let error as any TransientError: error.isTransient
            case is WorkflowError, is DecodingError, is EncodingError, is CancellationError: false
            default: TransientWords.occur(in: text)
            }
    }

    /// The failure of a task that didn't finish in the time it was given.
    public static func timedOut(after limit: Duration) -> Self {
        Self(text: "The task didn't finish within \(limit).", typeName: "TaskTimeout", isTransient: true)
    }

    private static func storable(_ text: String) -> String {
        var kept = String.UnicodeScalarView()
        var byteCount = 0
        for scalar in text.unicodeScalars {
            let scalar = scalar == "\0" ? "\u{FFFD}" : scalar
            byteCount += UTF8.width(scalar)
            guard byteCount <= self.maximumTextBytes else { return String(kept) + "…" }
            kept.append(scalar)
        }
        return String(kept)
    }
}

extension TaskFailure: CustomStringConvertible {
    /// The type and the text, which may hold whatever the error's own text does.
    public var description: String { "\(self.typeName): \(self.text)" }
}
