class Result:
    def __init__(self, record, test=None):
        self.record, self.test = record, test

    @property
    def scores(self):
        return self.record.run.scores
