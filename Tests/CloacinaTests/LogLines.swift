import Logging
import Synchronization

@testable import Cloacina

/// Keeps what is logged.
struct LogLines: LogHandler {
    private final class Sink: Sendable {
        let lines = Mutex<[String]>([])
    }

    private let sink = Sink()
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    /// A logger that writes here.
    var logger: Logger { Logger(label: "test", factory: { _ in self }) }

    /// The lines of warnings.
    var warnings: [String] { self.all.filter { $0.hasPrefix("warning: ") } }

    var all: [String] { self.sink.lines.withLock { $0 } }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let facts = event.metadata ?? [:]
        var line = "\(event.level): \(event.message)"
        if let task = facts[LogKeys.task] { line += " attempt \(facts[LogKeys.attempt, default: ""]) of \(task)" }
        if let error = facts[LogKeys.error] { line += ": \(error)" }
        if let pipeline = facts[LogKeys.pipeline] { line += " (\(pipeline))" }
        self.sink.lines.withLock { $0.append(line) }
    }
}
