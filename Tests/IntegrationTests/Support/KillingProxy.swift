import FoundationEssentials
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import CloacinaPostgres

/// Stands between a command and the server, and kills the command by SIGKILL at a chosen place of their conversation.
///
/// The places are numbered from 0: one before each flush of the command's is passed on, and one after each statement
/// (Execute or Query) and each Sync was. Between two statements of one flush nothing else can happen, so the place after
/// the first is that before the second. After the kill the server gets the end of what the command said and nothing
/// more: it does what was passed on, and its session ends as when a client dies. One thread carries everything.
final class KillingProxy: @unchecked Sendable {
    private struct Plan {
        var target: Int?
        /// The file that the command writes its process id to.
        var process = ""
        var count = 0
        var reached: String?
    }

    let port: UInt16
    private let serverPort: UInt16
    private let listener: Int32
    private let wakeUp: WakeUp
    private let plan = Mutex(Plan())
    private let isEnded = Atomic(false)
    /// Counts the kills of which no session is left.
    private let settled = Tally()
    private let kills = Atomic<Int>(0)
    /// Only the proxy's thread touches these.
    private var pairs: [Pair] = []
    private var isCut = false

    /// One connection of the command's.
    private struct Pair {
        let client: Int32
        let server: Int32
        var conversation = FrontendConversation()
    }

    init(serverPort: UInt16) throws {
        self.serverPort = serverPort
        self.wakeUp = try #require(WakeUp())
        (self.listener, self.port) = try LocalSocket.listen()
        try #require(DetachedThread.start { self.run() })
    }

    func end() {
        self.isEnded.store(true, ordering: .sequentiallyConsistent)
        self.wakeUp.signal()
    }

    /// Kills the process whose id is in a file when the conversation gets to a place.
    func kill(_ process: String, at place: Int) {
        self.plan.withLock { $0 = Plan(target: place, process: process) }
    }

    /// Waits until no session of a killed command is left.
    ///
    /// - Returns: The place where it was killed, nil when it never got there; and how many places it passed. Nothing is killed
    ///   afterwards.
    func settle() async -> (reached: String?, places: Int) {
        let plan = self.plan.withLock { plan in
            defer { plan = Plan() }
            return plan
        }
        if plan.reached != nil { await self.settled.reached(self.kills.load(ordering: .sequentiallyConsistent)) }
        return (plan.reached, plan.count)
    }

    // MARK: The proxy's thread

    private func run() {
        while !self.isEnded.load(ordering: .sequentiallyConsistent) {
            var descriptors = [self.wakeUp.descriptor].map(Self.readable)
            // What is cut says nothing more, and nobody comes in until the server has done what it was told.
            if !self.isCut { descriptors += [self.listener].map(Self.readable) }
            for pair in self.pairs {
                descriptors.append(Self.readable(pair.server))
                if !self.isCut { descriptors.append(Self.readable(pair.client)) }
            }
            guard unsafe poll(&descriptors, nfds_t(descriptors.count), -1) > 0 else { continue }
            for ready in descriptors where ready.revents != 0 { self.serve(ready.fd) }
        }
        for pair in self.pairs { self.close(pair) }
        Glibc.close(self.listener)
    }

    private static func readable(_ descriptor: Int32) -> pollfd {
        pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    }

    private func serve(_ descriptor: Int32) {
        if descriptor == self.wakeUp.descriptor { return self.wakeUp.clear() }
        if descriptor == self.listener { return self.accept() }
        guard let index = self.pairs.firstIndex(where: { [$0.client, $0.server].contains(descriptor) }) else { return }
        let pair = self.pairs[index]
        let isFromClient = descriptor == pair.client
        if isFromClient && self.isCut { return }
        let bytes = LocalSocket.receive(descriptor)
        if bytes.isEmpty {
            self.pairs.remove(at: index)
            self.close(pair)
            if self.isCut && self.pairs.isEmpty {
                self.isCut = false
                self.settled.add()
            }
        } else if isFromClient {
            self.pairs[index].conversation.append(bytes)
            self.passOn(index)
        } else if !self.isCut {
            LocalSocket.send(bytes, to: pair.client)
        }
    }

    private func accept() {
        guard let client = LocalSocket.accept(self.listener) else { return }
        guard let server = LocalSocket.connect(to: self.serverPort) else {
            Glibc.close(client)
            return
        }
        self.pairs.append(Pair(client: client, server: server))
    }

    private func close(_ pair: Pair) {
        Glibc.close(pair.client)
        Glibc.close(pair.server)
    }

    /// Passes whole messages on, up to the place.
    private func passOn(_ index: Int) {
        while let message = self.pairs[index].conversation.next() {
            if message.beginsFlush, self.isReached("before", message) { return self.cut() }
            LocalSocket.send(message.bytes, to: self.pairs[index].server)
            if message.isStep, self.isReached("after", message) { return self.cut() }
        }
    }

    private func isReached(_ side: String, _ message: FrontendConversation.Message) -> Bool {
        let process = self.plan.withLock { plan -> String? in
            guard let target = plan.target else { return nil }
            defer { plan.count += 1 }
            guard plan.count == target else { return nil }
            plan.target = nil
            plan.reached = "place \(target), \(side) \(message.kind): \(message.statement.prefix(80))"
            self.kills.add(1, ordering: .sequentiallyConsistent)
            return plan.process
        }
        guard let process else { return false }
        let text = (try? String(contentsOf: URL(filePath: process), encoding: .utf8)) ?? ""
        if let id = pid_t(text.filter { !$0.isWhitespace }) { Glibc.kill(id, SIGKILL) }
        return true
    }

    /// Lets the server come to the end of what was passed on, with nobody to tell.
    private func cut() {
        self.isCut = true
        for pair in self.pairs { shutdown(pair.server, Int32(SHUT_WR)) }
    }
}

/// The messages of one client, cut out of what it sends.
struct FrontendConversation {
    struct Message {
        let bytes: ArraySlice<UInt8>
        /// The protocol's letter; a blank for the first message, which has none.
        let kind: Character
        /// The SQL that it is about, for whoever reads a failure.
        let statement: String
        /// True when the server got nothing since it last was asked for an answer.
        let beginsFlush: Bool

        /// True when a statement is run, or a flush ends.
        var isStep: Bool { "EQS".contains(self.kind) }
    }

    private var pending: [UInt8] = []
    private var isStarted = false
    private var isInFlush = false
    /// The texts of prepared statements, and that of the one that was bound last.
    private var statements: [String: String] = [:]
    private var bound = ""

    mutating func append(_ bytes: ArraySlice<UInt8>) { self.pending += bytes }

    /// The next message that is whole.
    mutating func next() -> Message? {
        let head = self.isStarted ? 1 : 0
        guard self.pending.count >= head + 4 else { return nil }
        let length = self.pending[head..<head + 4].reduce(0) { $0 << 8 | Int($1) } + head
        guard self.pending.count >= length else { return nil }
        let bytes = self.pending[..<length]
        self.pending.removeSubrange(..<length)
        guard self.isStarted else {
            self.isStarted = true
            return Message(bytes: bytes, kind: " ", statement: "", beginsFlush: false)
        }
        let kind = Character(UnicodeScalar(bytes[0]))
        self.note(kind, bytes[5...])
        let isTalk = "PBDECSQH".contains(kind)
        defer { if isTalk { self.isInFlush = !"SQ".contains(kind) } }
        return Message(
            bytes: bytes, kind: kind, statement: self.bound, beginsFlush: isTalk && !self.isInFlush)
    }

    /// Keeps what tells which statement is meant.
    private mutating func note(_ kind: Character, _ body: ArraySlice<UInt8>) {
        let words = body.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        switch kind {
        case "Q": self.bound = words[0]
        case "P" where words.count > 1:
            self.statements[words[0]] = words[1]
            self.bound = words[1]
        case "B" where words.count > 1: self.bound = self.statements[words[1]] ?? ""
        default: break
        }
    }
}
