import Cloacina
import CloacinaPostgres
import Foundation
import Synchronization

/// A thousand runners with nothing to do: what they cost, and how soon one begins what another process calls for.
struct IdleTenants {
    let target: Target
    let count: Int

    func run(for duration: Duration) async throws {
        try await BenchTenants.with(self.count, on: self.target) { tenants in
            var configuration = PostgresPoolConfiguration(tenants.target.configuration)
            configuration.maximumConnections = 8
            try await PostgresPool.withPool(configuration) { pool in
                let begun = Mutex<Int64?>(nil)
                let workflow = try Workflow("ping") {
                    WorkflowTask("a") { _ in begun.withLock { $0 = monotonicNanoseconds } }
                }
                let before = Self.residentBytes
                let runners = try tenants.labels.map { try DefaultRunner(pool: pool, label: $0, workflows: [workflow]) }
                let group = RunnerGroup(runners, listeningOn: tenants.target.configuration, drain: .zero)
                let serving = Task { try await group.run() }
                progress("\(self.count) idle tenants for \(duration), after their first round")
                // The first round also looks for owners that never said anything, and meets every tenant for the first time.
                try await Task.sleep(for: duration < .seconds(10) ? .seconds(2) : .seconds(65))
                try await self.measureRest(tenants, for: duration, residentBefore: before)
                try await self.measureCalls(tenants, begun)
                serving.cancel()
                _ = await serving.result
            }
        }
    }

    private func measureRest(_ tenants: BenchTenants, for duration: Duration, residentBefore: Double) async throws {
        try await PostgresConnection.withConnection(tenants.target.configuration) { connection in
            let ours = EngineCommand.cpuSeconds
            let server = try Self.serverSeconds()
            try await Task.sleep(for: duration)
            let seconds = duration.seconds
            let spent = (EngineCommand.cpuSeconds - ours) / seconds * 100
            let spentByServer = (try Self.serverSeconds() - server) / seconds * 100
            let connections: Int = try await connection.query(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).single()
            let notes = "\(self.count) tenants, nothing to do for \(duration); the baseline is the limit"
            try Figure(
                name: "engine.idle.cpu", ours: spent + spentByServer, baseline: 2, unit: "% of a core",
                notes:
                    "\(notes); process \(String(format: "%.2f", spent)), server \(String(format: "%.2f", spentByServer))"
            ).print()
            try Figure(
                name: "engine.idle.connections", ours: Double(connections), baseline: 10, unit: "connections",
                notes: notes
            ).print()
            try Figure(
                name: "engine.idle.memory", ours: (Self.residentBytes - residentBefore) / Double(self.count) / 1024,
                baseline: 64, unit: "KiB per tenant", notes: notes
            ).print()
        }
    }

    /// Another process puts something into one tenant's queue after the other.
    private func measureCalls(_ tenants: BenchTenants, _ begun: borrowing Mutex<Int64?>) async throws {
        let other = try CallingProcess(target: tenants.target, workflow: "ping")
        defer { other.end() }
        var latencies: [Double] = []
        let rounds = 200
        for round in 0..<(rounds + 1) {
            begun.withLock { $0 = nil }
            let start = try other.enqueue(tenants.labels[round * 7 % tenants.labels.count])
            let patience = ContinuousClock.now.advanced(by: .seconds(90))
            while begun.withLock({ $0 }) == nil {
                guard ContinuousClock.now < patience else { throw WrongAnswer() }
                try await Task.sleep(for: .milliseconds(1))
            }
            // The first one is the process's first connection.
            if round > 0, let end = begun.withLock({ $0 }) { latencies.append(Double(end - start) / 1e6) }
        }
        try Figure(
            name: "engine.idle.call", ours: latencies.percentile(0.99), baseline: 50, unit: "ms",
            notes: String(
                format: "p99 of %d calls from another process, enqueue to the task's first line; p50 %.2f, most %.2f; "
                    + "the baseline is the limit", rounds, latencies.percentile(0.5), latencies.max() ?? 0)
        ).print()
    }

    private static var residentBytes: Double {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
        return pages * 4_096
    }

    /// The processor time of all processes called postgres on this machine.
    private static func serverSeconds() throws -> Double {
        var ticks = 0.0
        for process in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(process) != nil {
            guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
                let name = stat.firstIndex(of: "("), let end = stat.lastIndex(of: ")"),
                stat[name..<end].hasPrefix("(postgres")
            else { continue }
            let fields = stat[stat.index(end, offsetBy: 2)...].split(separator: " ")
            guard fields.count > 14 else { continue }
            // utime and stime, in hundredths of a second.
            ticks += (Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0)
        }
        return ticks / 100
    }
}
