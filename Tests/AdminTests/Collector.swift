import Synchronization

@testable import cloacina_admin

/// A console that collects, for one test.
final class Collector: Sendable {
    private let texts = Mutex((data: "", notes: ""))
    private let answer: String?

    init(answer: String? = nil) {
        self.answer = answer
    }

    var data: String { self.texts.withLock { $0.data } }
    var notes: String { self.texts.withLock { $0.notes } }

    func console(terminal: Bool) -> Console {
        Console(
            standardInputIsTerminal: terminal, standardOutputIsTerminal: terminal,
            writeData: { text in self.texts.withLock { $0.data += text } },
            writeNote: { text in self.texts.withLock { $0.notes += text } },
            readAnswer: { self.answer })
    }
}

/// What an error says and which status it has.
func failure(_ body: () throws -> Void) -> Failure? {
    do {
        try body()
        return nil
    } catch {
        return Failure(error)
    }
}
