import ArgumentParser
import Dispatch
import Glibc
import Synchronization

/// Runs one command line and turns whatever comes of it into a message and an exit status.
struct CommandRunner {
    let console: Console

    /// Runs the command line and ends the process.
    ///
    /// The first interrupt cancels the command, which leaves its work as its ledger says; the process then ends by that
    /// signal. A second one ends it at once.
    func runAndExit(_ arguments: [String]) async -> Never {
        let console = self.console
        let work = Task { await CommandRunner(console: console).run(arguments) }
        let interrupts = [SIGINT, SIGTERM].map { number in
            Interrupt(number) { isFirst in
                guard isFirst else { Interrupt.end(by: number) }
                console.note("interrupted; ending in good order (once more ends it at once)")
                work.cancel()
            }
        }
        let outcome = await work.value
        if outcome.isInterrupted, let interrupt = interrupts.first(where: \.hasFired) {
            Interrupt.end(by: interrupt.number)
        }
        // Everything is written. What libraries would free here threads of closed connections may be freeing as well.
        fflush(nil)
        _exit(outcome.status)
    }

    /// How a command ended.
    struct Outcome: Equatable {
        var status: Int32
        var isInterrupted = false
    }

    /// Runs the command line; everything there is to say has been said when it returns.
    func run(_ arguments: [String]) async -> Outcome {
        let format = OutputFormat.asked(in: arguments)
        do {
            try await Console.$system.withValue(self.console) { try await Self.run(arguments) }
            return Outcome(status: CommandStatus.done.rawValue)
        } catch {
            return self.report(error, format)
        }
    }

    private static func run(_ arguments: [String]) async throws {
        if let option = EmptyOption.first(in: arguments) { throw CommandError.empty(option) }
        let command = try CloacinaAdmin.parseAsRoot(arguments)
        if var command = command as? any AsyncParsableCommand {
            try await command.run()
        } else {
            var command = command
            try command.run()
        }
    }

    private func report(_ error: any Error, _ format: OutputFormat) -> Outcome {
        if Self.isArgumentParsers(error) {
            let code = CloacinaAdmin.exitCode(for: error)
            let message = CloacinaAdmin.fullMessage(for: error)
            if code == .success {
                self.console.data(message)
            } else if !message.isEmpty {
                self.console.note(message)
                self.show(Failure(CommandError(.usage, CloacinaAdmin.message(for: error))), format)
            }
            return Outcome(status: code == .validationFailure ? CommandStatus.usage.rawValue : code.rawValue)
        }
        let failure = Failure(error)
        self.console.note("error: \(TextTable.printable(failure.message))")
        if let detail = failure.detail, detail != failure.message {
            self.console.note("detail: \(TextTable.printable(detail))")
        }
        if let hint = failure.hint { self.console.note("hint: \(TextTable.printable(hint))") }
        self.show(failure, format)
        return Outcome(status: failure.status.rawValue, isInterrupted: failure.isInterruption)
    }

    /// Writes the failure as the command's one JSON document.
    ///
    /// Where an answer was written already, that is the document, and the failure stands on standard error alone; among the lines
    /// of ndjson it is one more.
    private func show(_ failure: Failure, _ format: OutputFormat) {
        guard format == .ndjson || (format == .json && !self.console.hasAnswer) else { return }
        guard let text = try? Renderer.json(ErrorDocument(failure), indented: format == .json) else { return }
        self.console.data(text)
    }

    /// Whether the argument parser knows what this error means; of any other it would print the bare description.
    private static func isArgumentParsers(_ error: any Error) -> Bool {
        error is ExitCode || error is CleanExit || error is ValidationError
            || CloacinaAdmin.exitCode(for: error) != .failure
    }
}

/// A signal that is told to a closure, on a queue, instead of ending the process.
private struct Interrupt {
    /// Whether it came yet.
    private final class Fired: Sendable {
        let value = Atomic(false)
    }

    let number: Int32
    private let source: any DispatchSourceSignal
    private let fired = Fired()

    init(_ number: Int32, _ body: @escaping @Sendable (_ isFirst: Bool) -> Void) {
        self.number = number
        signal(number, SIG_IGN)
        self.source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        self.source.setEventHandler { [fired] in body(!fired.value.exchange(true, ordering: .relaxed)) }
        self.source.resume()
    }

    var hasFired: Bool { self.fired.value.load(ordering: .relaxed) }

    /// Ends the process the way the signal would have, which is what a calling shell looks at.
    static func end(by number: Int32) -> Never {
        signal(number, SIG_DFL)
        // Dispatch keeps the signals it watches blocked.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, number)
        unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        raise(number)
        exit(128 + number)
    }
}
