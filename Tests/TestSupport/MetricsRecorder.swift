package import CoreMetrics
import Synchronization

/// Counts what is counted, keeps what is set, and counts how often times are recorded, by label and dimensions.
package final class MetricsRecorder: MetricsFactory {
    private let state = Mutex<[String: Int]>([:])

    package init() {}

    package var counts: [String: Int] { self.state.withLock { $0 } }

    private final class Line: CounterHandler, TimerHandler, MeterHandler {
        let recorder: MetricsRecorder
        private let name: String

        init(_ recorder: MetricsRecorder, _ label: String, _ dimensions: [(String, String)]) {
            self.recorder = recorder
            self.name = ([label] + dimensions.map { "\($0)=\($1)" }).joined(separator: " ")
        }

        private func add(_ amount: Int) { self.recorder.state.withLock { $0[self.name, default: 0] += amount } }
        func increment(by amount: Int64) { self.add(Int(amount)) }
        func recordNanoseconds(_ duration: Int64) { self.add(1) }
        func reset() {}
        func set(_ value: Int64) { self.recorder.state.withLock { $0[self.name] = Int(value) } }
        func set(_ value: Double) { self.set(Int64(value)) }
        func increment(by amount: Double) { self.add(Int(amount)) }
        func decrement(by amount: Double) { self.add(Int(-amount)) }
    }

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        Line(self, label, dimensions)
    }
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        Line(self, label, dimensions)
    }
    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        Line(self, label, dimensions)
    }
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        NOOPMetricsHandler.instance
    }
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}
}
