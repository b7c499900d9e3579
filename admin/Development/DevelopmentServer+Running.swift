import FoundationEssentials
import Glibc

extension DevelopmentServer {
    /// The postmaster of our data directory, as its own file and `/proc` agree; nothing when they don't.
    func running() -> PostmasterFile? {
        guard let text = try? String(contentsOfFile: self.layout.data + "/postmaster.pid", encoding: .utf8),
            let file = PostmasterFile(text), let facts = ProcessFacts(processID: file.pid),
            facts.isPostmaster(of: self.layout.data)
        else { return nil }
        return file
    }

    func state(of running: PostmasterFile) throws -> ServerState {
        guard let state = self.savedState(pid: running.pid) else {
            throw CommandError(
                .failed, "the server in \(self.layout.home) runs, but its state file is lost",
                hint: "dev stop, then dev start: it keeps its data and gets new passwords")
        }
        return state
    }

    /// The state file, if it speaks of the process that runs now.
    func savedState(pid: Int32) -> ServerState? {
        guard let state = self.savedState(), state.pid == pid,
            state.processStart == ProcessFacts(processID: pid)?.start
        else { return nil }
        return state
    }

    func savedState() -> ServerState? {
        guard let data = FileManager.default.contents(atPath: self.layout.state) else { return nil }
        return try? JSONDecoder().decode(ServerState.self, from: data)
    }

    func save(_ state: ServerState) throws {
        let bytes = Array((try Renderer.json(state, indented: true) + "\n").utf8)
        let draft = self.layout.state + ".new"
        unsafe unlink(draft)
        try PrivateFile.create(draft, holding: bytes)
        guard unsafe rename(draft, self.layout.state) == 0 else {
            throw CommandError.system("can't write \(self.layout.state)", errno)
        }
    }

    func waitUntilReady(_ processID: Int32, child: ChildProcess?) async throws {
        let deadline = ContinuousClock.now + self.patience
        while true {
            if let running = self.running(), running.pid == processID, running.isReady { return }
            if let status = child?.exitStatus() {
                throw StartFailure(log: self.logTail(), status: status)
            }
            if child == nil, ProcessFacts(processID: processID)?.isAlive != true {
                throw CommandError(.failed, "the server ended while it was starting; see \(self.layout.log)")
            }
            guard ContinuousClock.now < deadline else {
                throw CommandError(
                    .tryAgainLater, "the server does not answer after \(self.patience); see \(self.layout.log)")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Ends a postmaster by a fast shutdown and waits until it is gone.
    func end(_ processID: Int32) async throws {
        let facts = ProcessFacts(processID: processID)
        kill(processID, SIGINT)
        let deadline = ContinuousClock.now + self.patience
        while true {
            // Collects it where the server is a child of this very process, as in tests.
            _ = ChildProcess(processID: processID).exitStatus()
            guard let now = ProcessFacts(processID: processID), now.isAlive, now.start == facts?.start else { return }
            guard ContinuousClock.now < deadline else {
                throw CommandError(.failed, "process \(processID) does not end; see \(self.layout.log)")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}
