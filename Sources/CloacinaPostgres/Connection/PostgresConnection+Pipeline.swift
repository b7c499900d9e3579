import CLibPQ
import Glibc
import Synchronization

/// Sending a batch of statements and reading its answers. Everything here runs on the connection's own thread and may
/// wait there.
extension PostgresConnection {
    /// One answer that the server owes.
    private enum Expected {
        case prepared(StatementCache.Key, name: String)
        case bound
        /// Of something that goes with the caller's statements: a preparation, a setting, `BEGIN`.
        case own(String)
        case rows(Int)
    }

    /// A batch on its way: what was sent, in order.
    private struct Batch {
        var expected: [Expected] = []
        /// The statement sent last, which the next one often repeats.
        var latest: (key: StatementCache.Key, name: String)?
        /// What the server's unnamed statement is.
        var unnamed: StatementCache.Key?
        var preparedNames: [StatementCache.Key: String] = [:]
        var binds: LeaseScope?
        var setsLockTimeout: LockTimeout?
        /// Whether it runs a statement that an earlier batch prepared.
        var usesKeptPlan = false
    }

    /// What a batch that failed may have failed for although nothing is wrong with its statements.
    struct Suspicion {
        var plan = false
        var label = false
    }

    /// What has to be set before a lease's statements.
    private struct Needs {
        /// The label, and the lock timeout with it.
        var label = false
        var lockTimeout = false

        var isAny: Bool { self.label || self.lockTimeout }
    }

    /// Runs statements as one implicit transaction, binding a label first where needed.
    func run(
        _ statements: [PostgresStatement], scope: LeaseScope?, deadline: ContinuousClock.Instant?
    ) throws(PostgresError) -> [PostgresRows] {
        guard !statements.isEmpty else { return [] }
        defer { self.deallocateRetired() }
        var rows: [PostgresRows]
        do {
            rows = try self.runOnce(statements, scope: scope, deadline: deadline)
        } catch {
            guard error.code == .rejectedByServer, self.handle.isOpen else { throw error }
            if error.mayLackBinaryForm { throw self.explained(error, statements, scope: scope) }
            // When nothing took effect, a plan that no longer fits or that someone deallocated is made once more, and a
            // label whose tenant may have been made anew is bound once more.
            guard self.suspicion.plan || self.suspicion.label, self.mayRepeat else { throw error }
            rows = try self.runOnce(statements, scope: scope, deadline: deadline)
        }
        try self.describeTypes(of: &rows)
        return rows
    }

    private func runOnce(
        _ statements: [PostgresStatement], scope: LeaseScope?, deadline: ContinuousClock.Instant?
    ) throws(PostgresError) -> [PostgresRows] {
        guard self.handle.isOpen else { throw PostgresError(.connectionClosed) }
        try self.check(statements)
        if let deadline, deadline <= .now { throw PostgresError(.deadlineExceeded, advice: "nothing was sent") }
        var needs = self.needs(scope)
        if needs.isAny, !statements.allSatisfy(\.canFollowABinding) {
            // A ROLLBACK in the same flush would take the label back and leave the last tenant's.
            _ = try self.runOnce([PostgresStatement(trusted: "SELECT 1")], scope: scope, deadline: deadline)
            needs = self.needs(scope, inEachFlush: false)
        }
        let wasInTransaction = self.handle.transactionStatus != PQTRANS_IDLE
        let hasOwnBlock =
            !wasInTransaction && scope?.isEngine == true
            && self.defaultIsolation != PostgresIsolation.readCommitted.setting
        var batch = Batch()
        if hasOwnBlock { try self.sendOwn(PostgresIsolation.begin(.readCommitted), &batch) }
        if let scope { try self.sendSettings(needs, scope, &batch) }
        for (index, statement) in statements.enumerated() {
            try self.send(statement, as: .rows(index), label: scope?.label, &batch)
            // The server works on the first ones of a long batch while the rest are being written.
            if index % Self.statementsPerFlush == Self.statementsPerFlush - 1, self.handle.flush() < 0 {
                throw self.broken()
            }
        }
        if hasOwnBlock { try self.sendOwn(PostgresStatement(trusted: "COMMIT", prepared: false), &batch) }
        guard self.handle.sync() else { throw self.broken() }
        self.report.roundTrips.add(1, ordering: .relaxed)
        var wait = StatementWait(deadline: deadline)
        do {
            return try self.receive(batch, statements, scope: scope, wasInTransaction: wasInTransaction, &wait)
        } catch {
            if hasOwnBlock { self.rollBackIfNeeded() }
            throw error
        }
    }

    /// What a lease's statements need; behind a pooler the label again in each flush that is a transaction of its own.
    private func needs(_ scope: LeaseScope?, inEachFlush: Bool = true) -> Needs {
        guard let scope else { return Needs() }
        let isAgain =
            inEachFlush && self.pooler != .direct && self.handle.transactionStatus == PQTRANS_IDLE
        if isAgain || self.binding.needsBinding(for: scope) { return Needs(label: true) }
        return Needs(lockTimeout: self.lockTimeout.needsSetting(scope.lockTimeout, lease: scope.number))
    }

    /// Begins a transaction. A label is bound before it, in the same flush but outside it, so that no rollback takes the
    /// label back; behind a pooler inside it, since only a transaction certainly stays on one backend.
    func begin(scope: LeaseScope?, isolation: PostgresIsolation? = nil) throws(PostgresError) {
        guard self.handle.isOpen else { throw PostgresError(.connectionClosed) }
        guard self.handle.transactionStatus == PQTRANS_IDLE else {
            throw PostgresError(
                .unsupported, advice: "a transaction is open on this connection already; use SAVEPOINT inside it")
        }
        let needs = self.needs(scope)
        if let scope, needs.isAny, self.pooler != .direct {
            return try self.begin(binding: needs, scope: scope, isolation: isolation)
        }
        var settings = Batch()
        if let scope, needs.isAny {
            try self.sendSettings(needs, scope, &settings)
            guard self.handle.sync() else { throw self.broken() }
        }
        var batch = Batch()
        try self.sendOwn(PostgresIsolation.begin(isolation), &batch)
        guard self.handle.sync() else { throw self.broken() }
        self.report.roundTrips.add(1, ordering: .relaxed)
        var wait = StatementWait(deadline: nil)
        var refusal: PostgresError?
        if !settings.expected.isEmpty {
            do {
                _ = try self.receive(settings, [], scope: nil, wasInTransaction: false, &wait)
            } catch {
                guard self.handle.isOpen else { throw error }
                refusal = error
            }
        }
        _ = try self.receive(batch, [], scope: nil, wasInTransaction: false, &wait)
        guard let refusal else { return }
        self.rollBack()
        throw refusal
    }

    private func begin(
        binding needs: Needs, scope: LeaseScope, isolation: PostgresIsolation?
    ) throws(PostgresError) {
        var batch = Batch()
        try self.sendOwn(PostgresIsolation.begin(isolation), &batch)
        try self.sendSettings(needs, scope, &batch)
        guard self.handle.sync() else { throw self.broken() }
        self.report.roundTrips.add(1, ordering: .relaxed)
        var wait = StatementWait(deadline: nil)
        do {
            _ = try self.receive(batch, [], scope: nil, wasInTransaction: false, &wait)
        } catch {
            self.rollBackIfNeeded()
            throw error
        }
    }

    private func rollBackIfNeeded() {
        if self.handle.isOpen, self.handle.transactionStatus != PQTRANS_IDLE { self.rollBack() }
    }

    private func check(_ statements: [PostgresStatement]) throws(PostgresError) {
        for (index, statement) in statements.enumerated() {
            guard !statement.sql.utf8.contains(0) else {
                throw PostgresError(.invalidValue, advice: "the SQL text holds a NUL character", statementIndex: index)
            }
            if self.pooler == .shared, SessionState.wouldChange(statement) {
                throw PostgresError.needsOwnSession("what outlives a transaction")
            }
            guard statement.binds.count <= 65_535 else {
                throw PostgresError(.invalidValue, advice: "more than 65535 binds", statementIndex: index)
            }
            guard !statement.binds.contains(where: \.isTooLong) else {
                throw PostgresError(.invalidValue, advice: "a bind is longer than 1 GB", statementIndex: index)
            }
            guard statement.binds.contains(where: \.holdsNUL) else { continue }
            throw PostgresError(
                .invalidValue, advice: "PostgreSQL text cannot hold a NUL character", statement: statement.sql,
                statementIndex: index)
        }
    }

    // MARK: Sending

    private func sendSettings(_ needs: Needs, _ scope: LeaseScope, _ batch: inout Batch) throws(PostgresError) {
        if needs.label {
            try self.sendBinding(scope, &batch)
        } else if needs.lockTimeout {
            batch.setsLockTimeout = scope.lockTimeout
            try self.sendOwn(scope.lockTimeout.statement, &batch)
        }
    }

    private func sendBinding(_ scope: LeaseScope, _ batch: inout Batch) throws(PostgresError) {
        guard LabelBinding.isFaithful(scope.label) else {
            throw PostgresError(
                .invalidValue,
                advice: "a label's names are 1 to 63 bytes long without a NUL character, and no role is \"none\"")
        }
        if self.pooler == .shared, scope.label.role != nil {
            throw PostgresError.needsOwnSession("a label with a role")
        }
        batch.binds = scope
        // Behind a pooler the name of a prepared statement may be another client's.
        let statement = LabelBinding.statement(
            for: scope.label, lockTimeout: scope.lockTimeout,
            backendPID: self.pooler == .shared ? nil : self.backendPID, prepared: self.pooler == .direct)
        try self.send(statement, as: .bound, label: nil, &batch)
    }

    private func sendOwn(_ statement: PostgresStatement, _ batch: inout Batch) throws(PostgresError) {
        try self.send(statement, as: .own(statement.sql), label: nil, &batch)
    }

    private func send(
        _ statement: PostgresStatement, as expected: Expected, label: PostgresLabel?, _ batch: inout Batch
    ) throws(PostgresError) {
        self.encoder.removeAll()
        for bind in statement.binds { self.encoder.append(bind) }
        guard statement.isPrepared else {
            batch.unnamed = nil
            guard self.handle.sendParameters(sql: statement.sql, self.encoder, &self.scratch) else {
                throw self.broken()
            }
            batch.expected.append(expected)
            return
        }
        let name = try self.preparedName(of: statement, label: label, &batch)
        guard self.handle.sendPrepared(name: name, self.encoder, &self.scratch) else { throw self.broken() }
        batch.expected.append(expected)
    }

    /// The name of a statement whose binds have just been encoded; sends its preparation first if there is none.
    private func preparedName(
        of statement: PostgresStatement, label: PostgresLabel?, _ batch: inout Batch
    ) throws(PostgresError) -> String {
        guard let place = self.place(of: label) else { return try self.unnamed(statement, &batch) }
        if let (key, name) = batch.latest, key.label == place, key.sql == statement.sql,
            self.encoder.binds.elementsEqual(key.types, by: { $0.type == $1 })
        {
            return name
        }
        let key = StatementCache.Key(label: place, types: self.encoder.binds.map(\.type), sql: statement.sql)
        let name = try self.preparedName(key, &batch)
        batch.latest = (key, name)
        return name
    }

    private func preparedName(_ key: StatementCache.Key, _ batch: inout Batch) throws(PostgresError) -> String {
        if let name = self.cache.name(for: key) {
            batch.usesKeptPlan = true
            return name
        }
        if let name = batch.preparedNames[key] { return name }
        let name = self.cache.makeName()
        guard self.handle.sendPrepare(name: name, sql: key.sql, types: key.types) else { throw self.broken() }
        batch.expected.append(.prepared(key, name: name))
        batch.preparedNames[key] = name
        return name
    }

    /// Prepares a statement as the server's unnamed one, for this batch alone, unless it is that already.
    private func unnamed(_ statement: PostgresStatement, _ batch: inout Batch) throws(PostgresError) -> String {
        if let key = batch.unnamed, key.sql == statement.sql,
            self.encoder.binds.elementsEqual(key.types, by: { $0.type == $1 })
        {
            return ""
        }
        let key = StatementCache.Key(label: -1, types: self.encoder.binds.map(\.type), sql: statement.sql)
        guard self.handle.sendPrepare(name: "", sql: key.sql, types: key.types) else { throw self.broken() }
        batch.expected.append(.own(key.sql))
        batch.unnamed = key
        return ""
    }

    /// How many statements of a batch are handed to the server at a time; an answer is awaited only at the end.
    private static var statementsPerFlush: Int { 20 }

    /// The number under which a label's statements are kept, 0 without a label; `nil` where none may be kept.
    private func place(of label: PostgresLabel?) -> Int? {
        guard self.pooler != .shared else { return nil }
        guard let label else { return 0 }
        let place = self.plans.index(of: label)
        if let evicted = place.evicted { self.retired += self.cache.removeAll(label: evicted) }
        return place.index
    }

    // MARK: Receiving

    private func receive(
        _ batch: Batch, _ statements: [PostgresStatement], scope: LeaseScope?, wasInTransaction: Bool,
        _ wait: inout StatementWait
    ) throws(PostgresError) -> [PostgresRows] {
        var rows: [PostgresRows] = []
        rows.reserveCapacity(statements.count)
        var failure: PostgresError?
        for expected in batch.expected {
            while let result = try self.nextResult(&wait) {
                switch result.status {
                case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
                    self.accept(result, expected, &rows)
                case PGRES_PIPELINE_ABORTED: break
                case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                    throw self.broken(
                        PostgresError(.unsupported, advice: "COPY needs its own call; use copyIn"))
                default:
                    failure = failure ?? self.failure(result, expected, statements)
                }
            }
        }
        // Statements outside of a transaction are committed only now, and may yet fail.
        let refusal = try self.awaitSync(&wait)
        failure = failure ?? refusal
        try self.finishCancelling(wait)
        let lease = scope?.number ?? 0
        guard let failure else {
            self.didSucceed(batch, statements, rows, lease: lease, wasInTransaction: wasInTransaction)
            return rows
        }
        self.didFail(batch, statements, lease: lease, wasInTransaction: wasInTransaction)
        self.suspicion = Suspicion(
            plan: batch.usesKeptPlan && failure.mayHaveStalePlan,
            label: scope != nil && batch.binds == nil && failure.mayHaveStaleLabel
                && statements.allSatisfy(\.isTrusted))
        if self.suspicion.label { self.binding.forget() }
        if self.suspicion.plan || self.suspicion.label { self.retired += self.cache.removeAll() }
        self.mayRepeat = !wasInTransaction && rows.allSatisfy(\.isUndoneWithItsTransaction)
        if failure.sqlState == "25006", self.isServerReadOnly { self.report.insert(.readOnly) }
        if failure.code == .poolerUnsupported {
            PoolerProbe.noteShared(self.endpoint)
            throw self.broken(failure)
        }
        throw wait.translate(failure)
    }

    /// Whether it is the server that refuses writes, not a transaction of the caller's. Servers before 14 don't say.
    private var isServerReadOnly: Bool {
        self.handle.parameter("default_transaction_read_only", equals: "on") != false
            || self.handle.parameter("in_hot_standby", equals: "on") == true
    }

    private func accept(_ result: ResultHandle, _ expected: Expected, _ rows: inout [PostgresRows]) {
        switch expected {
        case .prepared(let key, let name):
            if let old = self.cache.insert(key, name: name) { self.retired.append(old) }
        case .bound:
            self.compareWithExpectation(result)
            self.noteIsolation(result)
        case .own: break
        case .rows: rows.append(PostgresRows(result))
        }
    }

    /// The label statement answers what the settings were: anything but what we left there is a leak.
    private func compareWithExpectation(_ result: ResultHandle) {
        // What is left in a session that others use too says nothing about our leases.
        guard self.pooler != .shared, let expected = self.binding.expected else { return }
        let row = PostgresRow(result: result, row: 0)
        guard let path = try? row.value(at: 0, as: String.self), let role = try? row.value(at: 1, as: String.self),
            path == expected.searchPath, role == expected.role ?? "none"
        else {
            self.report.insert(.tainted)
            return
        }
    }

    /// The binding answers the default isolation too: someone may have changed it since the session began.
    private func noteIsolation(_ result: ResultHandle) {
        let row = PostgresRow(result: result, row: 0)
        if let isolation = try? row.value(at: 2, as: String.self) { self.defaultIsolation = isolation }
    }

    private func failure(
        _ result: ResultHandle, _ expected: Expected, _ statements: [PostgresStatement]
    ) -> PostgresError {
        switch expected {
        case .rows(let index):
            var error = PostgresError.rejected(result, statement: statements[index].sql)
            error.statementIndex = index
            return error
        case .prepared(let key, _):
            var error = PostgresError.rejected(result, statement: key.sql)
            error.statementIndex = statements.firstIndex { $0.sql == key.sql }
            return error
        case .own(let sql):
            var error = PostgresError.rejected(result, statement: sql)
            error.statementIndex = statements.firstIndex { $0.sql == sql }
            return error
        case .bound: return Self.labelFailure(PostgresError.rejected(result, statement: nil))
        }
    }

    private static func labelFailure(_ error: PostgresError) -> PostgresError {
        guard error.code == .rejectedByServer else { return error }
        switch error.sqlState {
        case "22012":  // the binding divides by zero when the backend is another
            return PostgresError.movedSession(serverMessage: error.serverMessage)
        case "3F000":
            return PostgresError(
                .missingSchema, sqlState: error.sqlState, severity: error.severity,
                advice: "the tenant's schema does not exist, so nothing was run", serverMessage: error.serverMessage)
        case "22023", "42501", "42704":
            return PostgresError(
                .labelRefused, sqlState: error.sqlState, severity: error.severity,
                advice: "the login may not take on the tenant's role, or the role does not exist; nothing was run",
                serverMessage: error.serverMessage)
        default: return error
        }
    }

    // MARK: Afterwards

    private func didFail(
        _ batch: Batch, _ statements: [PostgresStatement], lease: UInt64, wasInTransaction: Bool
    ) {
        if batch.binds != nil { self.binding.didFailWhileBinding() }
        if batch.binds != nil || batch.setsLockTimeout != nil { self.lockTimeout.forget() }
        // A procedure may have committed a setting before it failed.
        if statements.contains(where: { !$0.isTrusted }) { self.noteForeignSQL(in: lease) }
        self.noteTransaction(wasInTransaction: wasInTransaction, committed: false)
    }

    private func didSucceed(
        _ batch: Batch, _ statements: [PostgresStatement], _ rows: [PostgresRows], lease: UInt64,
        wasInTransaction: Bool
    ) {
        let isInTransaction = self.handle.transactionStatus != PQTRANS_IDLE
        if let scope = batch.binds { self.binding.didBind(scope.label, inTransaction: isInTransaction) }
        if let lockTimeout = batch.binds?.lockTimeout ?? batch.setsLockTimeout {
            self.lockTimeout.didSet(lockTimeout, inTransaction: isInTransaction)
        }
        self.noteTransaction(
            wasInTransaction: wasInTransaction,
            committed: wasInTransaction && rows.contains { $0.commandTag == "COMMIT" })
        guard statements.contains(where: { !$0.isTrusted }) else { return }
        self.noteForeignSQL(in: lease)
        if SessionState.isChanged(by: statements, rows) { self.report.insert(.tainted) }
        // PostgreSQL 18 reports the path by itself, so a change shows without asking.
        if self.pooler != .shared, !isInTransaction, let expected = self.binding.expected,
            self.handle.parameter("search_path", equals: expected.searchPath) == false
        {
            self.report.insert(.tainted)
        }
    }

    private func noteTransaction(wasInTransaction: Bool, committed: Bool) {
        let isInTransaction = self.handle.transactionStatus != PQTRANS_IDLE
        self.report.set(.inTransaction, isInTransaction)
        if wasInTransaction, !isInTransaction {
            self.binding.didEndTransaction(committed: committed)
            self.lockTimeout.didEndTransaction(committed: committed)
        }
    }

    /// SQL that is not ours ran: for the next lease nothing of the session is certain.
    func noteForeignSQL(in lease: UInt64) {
        self.binding.didRunForeignSQL(in: lease)
        self.lockTimeout.didRunForeignSQL(in: lease)
    }

    // MARK: Types

    /// Looks up the types of a result's columns that this connection has not met: extensions' and the application's
    /// own.
    ///
    /// The rows are there whatever comes of it; only inside a transaction, which a failure would abort, it is thrown.
    private func describeTypes(of rows: inout [PostgresRows]) throws(PostgresError) {
        var unknown: Set<UInt32> = []
        var hasOwnTypes = false
        for result in rows {
            for column in 0..<result.result.columnCount {
                let type = result.result.typeOID(column)
                guard type >= TypeOID.firstOfOthers else { continue }
                hasOwnTypes = true
                if !self.types.knows(type) { unknown.insert(type) }
            }
        }
        guard hasOwnTypes else { return }
        if !unknown.isEmpty {
            do {
                try self.lookUp(unknown)
            } catch {
                if !self.handle.isOpen || self.handle.transactionStatus == PQTRANS_INERROR { throw error }
            }
        }
        for index in rows.indices { rows[index].types = self.types }
    }

    private func lookUp(_ types: Set<UInt32>) throws(PostgresError) {
        let answer = try self.runOnce([TypeCatalog.query(types)], scope: nil, deadline: .fromNow(.seconds(5)))
        for row in answer[0] { try self.types.add(row) }
        for type in types where !self.types.knows(type) { self.types.addUnknown(type) }
    }

    /// The error of a statement whose columns the server can't write in binary form, with the column's name and the way
    /// out.
    ///
    /// The statement is described, not run again. An error that has another reason stays as it is.
    private func explained(
        _ error: PostgresError, _ statements: [PostgresStatement], scope: LeaseScope?
    ) -> PostgresError {
        guard let index = error.statementIndex, statements.indices.contains(index),
            self.handle.transactionStatus == PQTRANS_IDLE
        else { return error }
        do throws(PostgresError) {
            let described = try self.describe(statements[index], scope: scope)
            let columns = (0..<described.columnCount).map { (described.columnName($0), described.typeOID($0)) }
            let others = Set(columns.map(\.1)).filter { $0 >= TypeOID.firstOfOthers && !self.types.knows($0) }
            if !others.isEmpty { try self.lookUp(others) }
            guard let column = columns.first(where: { self.types.lacksBinaryForm($0.1) }) else { return error }
            let type = self.types.name(of: column.1)
            return error.advising(
                "column \(column.0) is of type \(type) (OID \(column.1)), which has no binary form; "
                    + "select it as \(column.0)::text")
        } catch {
            return error
        }
    }

    private func describe(
        _ statement: PostgresStatement, scope: LeaseScope?
    ) throws(PostgresError) -> ResultHandle {
        var batch = Batch()
        if let scope { try self.sendSettings(self.needs(scope), scope, &batch) }
        self.encoder.removeAll()
        for bind in statement.binds { self.encoder.append(bind) }
        let isSent =
            self.handle.sendPrepare(name: "", sql: statement.sql, types: self.encoder.binds.map(\.type))
            && self.handle.sendDescribe(name: "")
        guard isSent, self.handle.sync() else { throw self.broken() }
        batch.expected += [.own(statement.sql), .rows(0)]
        var wait = StatementWait(deadline: .fromNow(.seconds(5)))
        return try self.receive(batch, [statement], scope: scope, wasInTransaction: false, &wait)[0].result
    }

    /// Frees the server's copies of statements that gave way, several in one flush, outside any transaction.
    private func deallocateRetired() {
        guard self.retired.count >= max(1, self.cache.capacity / 8), self.handle.isOpen,
            self.handle.transactionStatus == PQTRANS_IDLE
        else { return }
        let names = self.retired
        self.retired.removeAll()
        do throws(PostgresError) {
            var batch = Batch()
            for name in names {
                let statement = PostgresStatement(
                    trusted: "DEALLOCATE \(PostgresIdentifier.quote(name))", prepared: false)
                try self.send(statement, as: .rows(0), label: nil, &batch)
                guard self.handle.sync() else { throw self.broken() }
            }
            var wait = StatementWait(deadline: nil)
            for _ in names {
                while try self.nextResult(&wait) != nil {}  // one that is gone already is an error of its own alone
                _ = try self.awaitSync(&wait)
            }
            try self.finishCancelling(wait)
        } catch {
            self.report.insert(.broken)  // the answer that the caller waits for has arrived all the same
        }
    }

    // MARK: Waiting

    /// Reads the next result; `nil` at the end of one statement's results.
    func nextResult(_ wait: inout StatementWait) throws(PostgresError) -> ResultHandle? {
        var unsent = self.handle.flush()
        while true {
            if unsent < 0 { throw self.broken() }
            if unsent == 0, !self.handle.isBusy { return self.handle.nextResult() }
            try self.waitForSocket(writing: unsent > 0, &wait)
            guard self.handle.consumeInput() else { throw self.broken() }
            if unsent > 0 { unsent = self.handle.flush() }
            if !self.handle.isBusy { return self.handle.nextResult() }
        }
    }

    /// Waits for the end of a batch.
    ///
    /// - Returns: The refusal that came with it: that of a commit, such as by a deferred constraint.
    private func awaitSync(_ wait: inout StatementWait) throws(PostgresError) -> PostgresError? {
        var refusal: PostgresError?
        while true {
            let result = try self.nextResult(&wait)
            if result?.status == PGRES_PIPELINE_SYNC { return refusal }
            if !self.handle.isGood { throw self.broken() }  // nothing more will come
            if let result, result.status == PGRES_FATAL_ERROR {
                refusal = refusal ?? PostgresError.rejected(result, statement: nil)
            }
        }
    }

    /// Waits for the socket, turning a request to cancel or a passed deadline into one cancel request to the server.
    func waitForSocket(writing: Bool, _ wait: inout StatementWait) throws(PostgresError) {
        let events = writing ? SocketWait.input | SocketWait.output : SocketWait.input
        switch SocketWait.wait(self.handle.socket, events, wakeUp: self.thread.wakeUp, deadline: wait.limit) {
        case .ready: return
        case .interrupted:
            let pending = self.interrupt.pending
            if pending.contains(.close) {
                throw self.broken(PostgresError(.connectionClosed, advice: "it was aborted"))
            }
            if pending.contains(.cancel), wait.reason == nil {
                wait.beginCancelling(.cancelled, self.handle.makeCancelRequest())
            }
        case .timedOut:
            guard let reason = wait.reason else {
                wait.beginCancelling(.deadlineExceeded, self.handle.makeCancelRequest())
                return
            }
            guard wait.mayCancelAgain() else {
                throw self.broken(PostgresError(reason, advice: "the server did not stop in time; connection closed"))
            }
            wait.cancelAgain { self.handle.makeCancelRequest() }
        }
    }

    /// Makes sure that a cancel request of ours can't hit a later statement.
    func finishCancelling(_ wait: StatementWait) throws(PostgresError) {
        guard let request = wait.request else { return }
        guard request.waitUntilFinished(milliseconds: 5_000) else {
            throw self.broken(
                PostgresError(wait.reason ?? .cancelled, advice: "the cancel request got no answer; connection closed"))
        }
    }

    /// Gives the connection up and says why.
    @discardableResult
    func broken(_ error: PostgresError? = nil) -> PostgresError {
        let words = self.handle.isOpen ? self.handle.errorMessage : nil
        self.report.insert(.broken)
        self.handle.finish()
        return error
            ?? PostgresError(
                .connectionLost, advice: "the outcome of the last statement is unknown; check before repeating it",
                serverMessage: words)
    }
}
